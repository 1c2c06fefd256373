// Bypasses alarms of a door while somebody works there: which, for how long and why; or ends that early.
import { Alert as Banner, App, Button, Checkbox, Input, Radio } from "antd";
import type { ReactElement } from "react";
import { useId, useState } from "react";

import type { Door } from "../api";
import { beginBypass, BYPASSABLE, endBypass, REASON_LEAST, SPANS_MIN } from "../doors";
import { siteTime, useText, worded } from "../text/language";
import { useClock } from "./clock";
import { Frame, useActing } from "./Dialog";
import type { DialogProps } from "./Office";
import { Rule } from "./Rule";

const REASON_MOST = 200;
const USUAL_MIN = 60;
const NO_WORDS: Record<string, string> = {};

export function BypassDialog({ gateway, door, doors, onExpired, onClose }: DialogProps & { door: Door }): ReactElement {
  const { atDoors: { bypass: text }, kind } = useText();
  const { message } = App.useApp();
  const reasonId = useId();
  const { busy, failure, act } = useActing(onExpired, NO_WORDS);
  const [kinds, setKinds] = useState<string[]>([]);
  const [minutes, setMinutes] = useState(USUAL_MIN);
  const [reason, setReason] = useState("");
  const standing = (doors.get(door.id) ?? door).bypass ?? null;
  const begin = (): void => {
    void act(async () => {
      await beginBypass(gateway, door.id, { kinds, minutes, reason: reason.trim() });
      void message.success(text.begun);
      onClose();
    });
  };
  const end = (): void => {
    void act(async () => {
      await endBypass(gateway, door.id);
      void message.success(text.ended);
      onClose();
    });
  };
  const lacking = kinds.length === 0 || reason.trim().length < REASON_LEAST;
  return (
    <Frame
      title={text.title(door.name)} onClose={onClose} failure={failure}
      footer={<Button key="begin" type="primary" loading={busy} disabled={lacking} onClick={begin}>{text.begin}</Button>}
    >
      <p className="hint">{text.help}</p>
      {standing !== null && <Standing bypass={standing} busy={busy} onEnd={end} />}
      <Rule label={text.kinds}>
        <Checkbox.Group value={kinds} disabled={busy} options={BYPASSABLE.map((value) => ({ value, label: worded(kind, value) }))} onChange={setKinds} />
      </Rule>
      <Rule label={text.lasts}>
        <Radio.Group
          value={minutes} disabled={busy} options={SPANS_MIN.map((value) => ({ value, label: text.span(value) }))}
          onChange={(event) => { setMinutes(event.target.value as number); }}
        />
      </Rule>
      <p className="why">
        <label htmlFor={reasonId}>{text.reason}</label>
        <Input id={reasonId} maxLength={REASON_MOST} value={reason} placeholder={text.reasonHelp} onChange={(event) => { setReason(event.target.value); }} />
      </p>
    </Frame>
  );
}

function Standing({ bypass, busy, onEnd }: { bypass: NonNullable<Door["bypass"]>; busy: boolean; onEnd: () => void }): ReactElement {
  const { atDoors: { bypass: text }, doors, kind } = useText();
  const now = useClock();
  const kinds = bypass.kinds.map((each) => worded(kind, each)).join(doors.and);
  return (
    <Banner
      type="warning" showIcon title={text.now(siteTime(bypass.until, { now }), kinds)}
      description={(
        <div className="office">
          <p>{doors.bypassedBy(bypass.by, bypass.reason)}</p>
          <p><Button danger loading={busy} onClick={onEnd}>{text.end}</Button></p>
          <p>{text.again}</p>
        </div>
      )}
    />
  );
}
