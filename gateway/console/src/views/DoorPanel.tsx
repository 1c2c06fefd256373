// How every door stands now: where somebody rings, then what needs a look comes first.
import { MoreOutlined } from "@ant-design/icons";
import { Badge, Button, Dropdown, Empty, Input, Skeleton } from "antd";
import type { ReactElement, ReactNode } from "react";
import { useMemo, useState } from "react";

import type { Alert, Door } from "../api";
import { byConcern } from "../board";
import { siteTime, useText, worded } from "../text/language";
import { useNow } from "./clock";
import { page } from "./Dialog";
import { FaceState } from "./FaceState";
import type { Tone } from "./Mark";
import { Mark } from "./Mark";

const SEARCH_FROM = 8;
const MODE_TONES: Record<string, Tone> = { locked_down: "danger", evacuating: "danger", held_open: "caution" };

const needsLook = (door: Door): boolean => !door.online || door.tamper || door.alarm !== "none" || door.mode !== "normal" || door.bypass != null;

/** What a person may begin at a door; absent is not theirs to do. */
export interface DoorTools { onRules?: ((door: Door) => void) | undefined; onBypass?: ((door: Door) => void) | undefined }
export interface DoorPanelProps extends DoorTools { doors: ReadonlyMap<string, Door>; calls: ReadonlyMap<string, Alert>; known: boolean; tools?: ReactNode }

export function DoorPanel({ doors, calls, known, tools, ...begin }: DoorPanelProps): ReactElement {
  const text = useText().doors;
  const [wanted, setWanted] = useState("");
  const ordered = useMemo(
    () => byConcern(doors.values()).sort((one, other) => Number(calls.has(other.id)) - Number(calls.has(one.id))),
    [doors, calls],
  );
  const needle = wanted.trim().toLowerCase();
  const shown = ordered.filter((door) => `${door.name} ${door.address} ${door.id}`.toLowerCase().includes(needle));
  return (
    <section className="panel" data-section="doors" aria-labelledby="doors-heading">
      <div className="panel-head">
        <h2 id="doors-heading">{text.heading}</h2>
        {known && doors.size > 0 && <span className="faint">{text.summary(doors.size, ordered.filter(needsLook).length)}</span>}
        <span className="spring" />
        {tools}
      </div>
      {doors.size >= SEARCH_FROM && (
        <Input type="search" allowClear value={wanted} placeholder={text.search} aria-label={text.search} onChange={(event) => { setWanted(event.target.value); }} />
      )}
      {!known && <Skeleton active />}
      {known && shown.length === 0 && <Empty image={Empty.PRESENTED_IMAGE_SIMPLE} description={text.none} />}
      <ul className="places" aria-labelledby="doors-heading" tabIndex={0}>{shown.map((door) => <DoorRow key={door.id} door={door} call={calls.get(door.id)} {...begin} />)}</ul>
    </section>
  );
}

function DoorRow({ door, call, onRules, onBypass }: { door: Door; call: Alert | undefined } & DoorTools): ReactElement {
  const { doors: text, atDoors } = useText();
  const now = useNow();
  const seen = door.seen_at == null ? text.never : text.seen(siteTime(door.seen_at, { now }));
  const alarm = door.alarm === "none" ? null : worded(text.alarm, door.alarm);
  return (
    <li className={alarm !== null || door.tamper ? "place place-alarm" : "place"} data-door={door.id}>
      <div className="place-name">
        <Badge status={door.online ? "success" : "default"} text={<strong>{door.name}</strong>} />
        <small className="faint">{door.address}</small>
        {(door.exit_kind === "none" || door.exit_kind === "mechanical") && <small className="faint">{text.cannotTellForced}</small>}
      </div>
      <div className="place-state" title={seen}>
        {alarm !== null && <Mark loud tone="danger" word={alarm} />}
        {door.tamper && <Mark loud tone="warn" word={text.tamper} />}
        {door.mode !== "normal" && <Mark tone={MODE_TONES[door.mode] ?? "calm"} word={worded(text.mode, door.mode)} />}
        {door.bypass != null && <Bypass bypass={door.bypass} />}
        {call !== undefined && <Mark loud tone="note" word={atDoors.call.ringing} />}
        {door.online ? <Bolt door={door} /> : <Mark loud tone="calm" word={text.offline} />}
        <Tools door={door} onRules={onRules} onBypass={onBypass} />
      </div>
      {door.trouble != null && door.trouble !== "" && <p className="place-trouble">{worded(atDoors.trouble, door.trouble)}</p>}
      <FaceState door={door} />
    </li>
  );
}

function Tools({ door, onRules, onBypass }: { door: Door } & DoorTools): ReactElement | null {
  const text = useText().atDoors;
  const items = [
    ...(onRules === undefined ? [] : [{ key: "rules", label: text.rules.openOf(door.name), onClick: () => { onRules(door); } }]),
    ...(onBypass === undefined ? [] : [{ key: "bypass", label: text.bypass.openOf(door.name), onClick: () => { onBypass(door); } }]),
  ];
  if (items.length === 0) return null;
  return (
    <Dropdown menu={{ items }} trigger={["click"]} placement="bottomRight" getPopupContainer={page}>
      <Button size="small" type="text" icon={<MoreOutlined aria-hidden />} aria-label={text.tools(door.name)} />
    </Dropdown>
  );
}

function Bypass({ bypass }: { bypass: NonNullable<Door["bypass"]> }): ReactElement {
  const text = useText();
  const now = useNow();
  const kinds = bypass.kinds.map((kind) => worded(text.kind, kind)).join(text.doors.and);
  return <Mark tone="caution" word={text.doors.bypassed(siteTime(bypass.until, { now }), kinds)} title={text.doors.bypassedBy(bypass.by, bypass.reason)} />;
}

function Bolt({ door }: { door: Door }): ReactElement {
  const text = useText().doors;
  const contact = door.contact === "open" ? "warn" : door.contact === "closed" ? "good" : "calm";
  return (
    <>
      <Mark tone={contact} word={worded(text.contact, door.contact)} />
      <Mark tone={door.lock === "unlocked" ? "note" : "calm"} word={worded(text.lock, door.lock)} />
    </>
  );
}
