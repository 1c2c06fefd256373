// A card reader without a key of its own: why it needs one, and the order to install one, said twice and on record.
import { Button, Checkbox } from "antd";
import type { ReactElement } from "react";
import { useState } from "react";

import { installKey } from "../devices";
import { useText, worded } from "../text/language";
import type { Asking } from "./DeviceCard";

export function ReaderKey({ device, gateway, why, unsaid, busy, act, say, onChange }: Asking): ReactElement {
  const { wiring: text, reason, byHand, replace } = useText().devices;
  const [sure, setSure] = useState(false);
  const [pause, setPause] = useState(false);
  const install = (): void => {
    void act(async () => {
      const order = await installKey(gateway, device.id, { pause, why: why.trim() });
      await onChange();
      if (order.state !== "confirmed") say(worded(reason, order.reason));
    });
  };
  return (
    <>
      <p>{text.noKey}</p>
      {!sure && <p className="at-door"><Button size="small" disabled={unsaid || busy} onClick={() => { setSure(true); }}>{text.key}</Button></p>}
      {sure && (
        <p className="at-door">
          <span>{text.keyMode}</span>
          <Checkbox checked={pause} onChange={(event) => { setPause(event.target.checked); }}>{byHand.pause}</Checkbox>
          <Button size="small" type="primary" loading={busy} disabled={unsaid} onClick={install}>{text.keyNow}</Button>
          <Button size="small" disabled={busy} onClick={() => { setSure(false); }}>{replace.cancel}</Button>
        </p>
      )}
    </>
  );
}
