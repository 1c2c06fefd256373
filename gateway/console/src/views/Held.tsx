// Asks a manager what becomes of the templates that a person has: replaced, replaced though they show another face, or kept.
import { Radio } from "antd";
import type { ReactElement } from "react";

import { useText } from "../text/language";

export type HeldWay = "replace" | "anew" | "add";
interface HeldProps { ways: readonly HeldWay[]; value: HeldWay; busy: boolean; onChange: (way: HeldWay) => void }

export function Held({ ways, value, busy, onChange }: HeldProps): ReactElement {
  const text = useText().faces.enrol;
  return (
    <Radio.Group
      vertical aria-label={text.what} value={value} disabled={busy} onChange={(event) => { onChange(event.target.value as HeldWay); }}
      options={ways.map((way) => ({ value: way, label: text[way] }))}
    />
  );
}
