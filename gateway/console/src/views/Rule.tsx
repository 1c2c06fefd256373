// One rule of a door: its name, one sentence of what it does, its control, and what the gateway found wrong with it.
import type { ReactElement, ReactNode } from "react";

import { InView } from "./InView";

export interface RuleProps { label: string; help?: string; fault?: string | undefined; children: ReactNode }

export function Rule({ label, help, fault, children }: RuleProps): ReactElement {
  return (
    <fieldset className="plain rule">
      <legend>{label}</legend>
      {help !== undefined && <p className="hint">{help}</p>}
      {children}
      {fault !== undefined && <InView><p role="alert" className="fault">{fault}</p></InView>}
    </fieldset>
  );
}
