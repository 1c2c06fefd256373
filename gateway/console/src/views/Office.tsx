// The dialogs of the office, opened from the lists of doors and cameras by who may: enrolment, near zones, evidence.
import { Button } from "antd";
import type { ReactElement, ReactNode } from "react";
import { useState } from "react";

import type { Camera, Door, Gateway, User } from "../api";
import { useText } from "../text/language";
import { DevicesDialog } from "./DevicesDialog";
import { EnrolDialog } from "./EnrolDialog";
import { EvidenceDialog } from "./EvidenceDialog";
import { ZoneDialog } from "./ZoneDialog";

export interface OfficeProps { user: User; gateway: Gateway; doors: ReadonlyMap<string, Door>; onExpired: () => void }
export interface Office { tools: ReactNode; onZone: ((camera: Camera) => void) | undefined; dialog: ReactElement | null }
type Shown = { what: "enrol" } | { what: "devices" } | { what: "evidence" } | { what: "zone"; camera: Camera } | null;

/** Return the buttons that a person may press and the dialog that is open. */
export function useOffice({ user, gateway, doors, onExpired }: OfficeProps): Office {
  const { faces: text, devices } = useText();
  const [shown, setShown] = useState<Shown>(null);
  const enrols = user.scopes.includes("people:read") && user.scopes.includes("people:write");
  const keeps = user.scopes.includes("devices:write");
  const props = { gateway, doors, onExpired, onClose: () => { setShown(null); } };
  const tools = (
    <span className="tools">
      {enrols && <Button size="small" onClick={() => { setShown({ what: "enrol" }); }}>{text.enrol.open}</Button>}
      {keeps && <Button size="small" onClick={() => { setShown({ what: "evidence" }); }}>{text.evidence.open}</Button>}
      {keeps && <Button size="small" onClick={() => { setShown({ what: "devices" }); }}>{devices.open}</Button>}
    </span>
  );
  return { tools, onZone: keeps ? (camera) => { setShown({ what: "zone", camera }); } : undefined, dialog: shown === null ? null : drawn(shown, props) };
}

export interface DialogProps { gateway: Gateway; doors: ReadonlyMap<string, Door>; onExpired: () => void; onClose: () => void }

function drawn(shown: NonNullable<Shown>, props: DialogProps): ReactElement {
  if (shown.what === "enrol") return <EnrolDialog {...props} />;
  if (shown.what === "devices") return <DevicesDialog {...props} />;
  if (shown.what === "evidence") return <EvidenceDialog {...props} />;
  return <ZoneDialog key={shown.camera.id} {...props} camera={shown.camera} />;
}
