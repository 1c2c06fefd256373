// Answers a call at a door station: open to who rings, with a reason, or send them away with one click.
import { CloseOutlined, UnlockOutlined } from "@ant-design/icons";
import { Button, Input } from "antd";
import type { ReactElement } from "react";
import { useId, useState } from "react";

import type { Alert } from "../api";
import { REASON_LEAST } from "../doors";
import { useText } from "../text/language";
import type { Actions } from "./actions";

const REASON_MOST = 200;

export function CallDesk({ alert, busy, onAnswer }: { alert: Alert; busy: boolean; onAnswer: Actions["answer"] }): ReactElement {
  const text = useText().atDoors.call;
  const id = useId();
  const [reason, setReason] = useState("");
  const said = reason.trim();
  const door = alert.place.name;
  return (
    <div className="call-desk" data-call={alert.place.door_id}>
      <label htmlFor={id}>{text.reason}</label>
      <div role="group" aria-label={text.quickLabel} className="tools">
        {text.quick.map((each) => (
          <Button key={each} size="small" disabled={busy} aria-pressed={said === each} type={said === each ? "primary" : "default"} ghost={said === each} onClick={() => { setReason(each); }}>{each}</Button>
        ))}
      </div>
      {/* No form: a desk reader types the number of a card and presses Enter, which must open nothing. */}
      <Input id={id} autoComplete="off" maxLength={REASON_MOST} value={reason} placeholder={text.reasonHelp} onChange={(event) => { setReason(event.target.value); }} />
      <div className="call-ways">
        <Button type="primary" size="large" icon={<UnlockOutlined aria-hidden />} loading={busy} disabled={said.length < REASON_LEAST} aria-label={text.openOf(door)} onClick={() => { void onAnswer(alert, "open", said); }}>{text.open}</Button>
        <Button danger size="large" icon={<CloseOutlined aria-hidden />} disabled={busy} aria-label={text.refuseOf(door)} onClick={() => { void onAnswer(alert, "refuse", text.refused); }}>{text.refuse}</Button>
      </div>
    </div>
  );
}
