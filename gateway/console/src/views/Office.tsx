// The dialogs of the office, opened from the lists of doors and cameras by who may: enrolment, cards, near zones,
// evidence, devices, the rules of a door and its bypassed alarms.
import { Button } from "antd";
import type { ReactElement, ReactNode } from "react";
import { useState } from "react";

import type { Camera, Door, Gateway, User } from "../api";
import { useText } from "../text/language";
import { BypassDialog } from "./BypassDialog";
import { CardDialog } from "./CardDialog";
import { DevicesDialog } from "./DevicesDialog";
import type { DoorTools } from "./DoorPanel";
import { EnrolDialog } from "./EnrolDialog";
import { EvidenceDialog } from "./EvidenceDialog";
import { RulesDialog } from "./RulesDialog";
import { ZoneDialog } from "./ZoneDialog";

export interface OfficeProps { user: User; gateway: Gateway; doors: ReadonlyMap<string, Door>; onExpired: () => void }
export interface Office { tools: ReactNode; onZone: ((camera: Camera) => void) | undefined; atDoor: DoorTools; dialog: ReactElement | null }
type Shown =
  | { what: "enrol" | "card" | "devices" | "evidence" } | { what: "zone"; camera: Camera } | { what: "rules" | "bypass"; door: Door } | null;

/** Return the buttons that a person may press and the dialog that is open. */
export function useOffice({ user, gateway, doors, onExpired }: OfficeProps): Office {
  const { faces: text, devices, atDoors } = useText();
  const [shown, setShown] = useState<Shown>(null);
  const enrols = user.scopes.includes("people:read") && user.scopes.includes("people:write");
  const keeps = user.scopes.includes("devices:write");
  const opens = user.scopes.includes("doors:unlock");
  const props = { gateway, doors, onExpired, onClose: () => { setShown(null); }, seesSchedules: user.scopes.includes("access:read") };
  const tools = (
    <span className="tools">
      {enrols && <Button size="small" onClick={() => { setShown({ what: "enrol" }); }}>{text.enrol.open}</Button>}
      {enrols && <Button size="small" onClick={() => { setShown({ what: "card" }); }}>{atDoors.card.open}</Button>}
      {keeps && <Button size="small" onClick={() => { setShown({ what: "evidence" }); }}>{text.evidence.open}</Button>}
      {keeps && <Button size="small" onClick={() => { setShown({ what: "devices" }); }}>{devices.open}</Button>}
    </span>
  );
  return {
    tools,
    onZone: keeps ? (camera) => { setShown({ what: "zone", camera }); } : undefined,
    atDoor: {
      onRules: keeps ? (door) => { setShown({ what: "rules", door }); } : undefined,
      onBypass: opens ? (door) => { setShown({ what: "bypass", door }); } : undefined,
    },
    dialog: shown === null ? null : drawn(shown, props),
  };
}

export interface DialogProps { gateway: Gateway; doors: ReadonlyMap<string, Door>; onExpired: () => void; onClose: () => void }

function drawn(shown: NonNullable<Shown>, { seesSchedules, ...props }: DialogProps & { seesSchedules: boolean }): ReactElement {
  if (shown.what === "zone") return <ZoneDialog key={shown.camera.id} {...props} camera={shown.camera} />;
  if (shown.what === "rules") return <RulesDialog {...props} door={shown.door} seesSchedules={seesSchedules} />;
  if (shown.what === "bypass") return <BypassDialog {...props} door={shown.door} />;
  if (shown.what === "enrol") return <EnrolDialog {...props} />;
  if (shown.what === "card") return <CardDialog {...props} />;
  return shown.what === "devices" ? <DevicesDialog {...props} /> : <EvidenceDialog {...props} />;
}
