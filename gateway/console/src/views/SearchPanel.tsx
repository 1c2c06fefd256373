// Has an edge search its network, and tells which wires were not searched to their end.
import { Alert as Banner, Button, Input } from "antd";
import type { ReactElement } from "react";
import { useId, useState } from "react";

import type { Note } from "../devices";
import { search } from "../devices";
import { told, useText, worded } from "../text/language";
import type { AskingProps } from "./DeviceCard";
import { useActing } from "./Dialog";

const NETWORKS_MOST = 500;

export function SearchPanel({ gateway, onExpired, why, unsaid, edge, onChange }: AskingProps & { edge: string }): ReactElement {
  const text = useText().devices;
  const { busy, failure, say, act } = useActing(onExpired, text.reason);
  const [networks, setNetworks] = useState("");
  const [notes, setNotes] = useState<Note[]>([]);
  const id = useId();
  const look = (): void => {
    void act(async () => {
      setNotes([]);
      const order = await search(gateway, edge, { networks: networks.split(/[\s,;]+/).filter(Boolean), why: why.trim() });
      setNotes(order.notes);
      await onChange();
      if (order.state !== "confirmed") say(worded(text.reason, order.reason));
    });
  };
  return (
    <>
      <p className="why">
        <label htmlFor={id}>{text.networks}</label>
        <Input id={id} size="small" maxLength={NETWORKS_MOST} value={networks} placeholder={text.networksHelp} onChange={(event) => { setNetworks(event.target.value); }} />
        <Button size="small" type="primary" loading={busy} disabled={edge === "" || unsaid} onClick={look}>{busy ? text.searching : text.search}</Button>
      </p>
      {failure !== null && <Banner type="error" role="alert" showIcon title={failure} />}
      {notes.map((note) => <p key={note.wire} role="status" className="fault">{worded(text.byHand.wires, note.wire)}: {told(text.why, note.code, note.detail)}</p>)}
    </>
  );
}
