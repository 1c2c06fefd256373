// One device that was found: how far it was reached, why no further and what to do, its credentials, and its parts.
import { Alert as Banner, Button, Checkbox, Input } from "antd";
import type { ReactElement } from "react";
import { useId, useState } from "react";

import type { Gateway } from "../api";
import type { Device } from "../devices";
import { askAgain, LADDER, remove } from "../devices";
import { useText, worded } from "../text/language";
import { useActing } from "./Dialog";
import { PartRow } from "./PartRow";

export interface CardProps { gateway: Gateway; onExpired: () => void; why: string; unsaid: boolean; onChange: () => Promise<void> }
const MOST = { user: 128, password: 256 };

export function DeviceCard({ device, onChange, ...props }: CardProps & { device: Device }): ReactElement {
  const text = useText().devices;
  const { gateway, onExpired, why, unsaid } = props;
  const { busy, failure, say, act } = useActing(onExpired, text.reason);
  const title = useId();
  const named = [device.maker, device.model, device.serial].filter(Boolean).join(" ");
  const drop = (): void => { void act(async () => { await remove(gateway, device.id, why.trim()); await onChange(); }); };
  return (
    <li className="device" aria-labelledby={title} data-device={device.id}>
      <h3 id={title}>{named === "" ? device.address : named}</h3>
      <p className="hint">{device.wire} <code>{device.address}</code></p>
      <Ladder device={device} />
      {failure !== null && <Banner type="error" role="alert" showIcon title={failure} />}
      {device.trouble !== "" && <p className="fault">{worded(text.trouble, device.trouble)}{device.detail !== "" && <small className="faint"> {device.detail}</small>}</p>}
      {device.fingerprint !== "" && device.trouble === "certificate" && <p>{text.fingerprint} <code>{device.fingerprint}</code></p>}
      {device.wire !== "mqtt" && <Credentials {...{ device, gateway, why, unsaid, busy, act, say, onChange }} />}
      {device.parts.map((part) => <PartRow key={part.id} {...{ part, gateway, onExpired, why, unsaid, onChange }} deviceId={device.id} />)}
      {device.state === "found" && <p><Button size="small" type="text" disabled={unsaid || busy} onClick={drop}>{text.remove}</Button></p>}
    </li>
  );
}

/** The rungs as bars for the eye, in words for everybody. */
function Ladder({ device: { reach } }: { device: Device }): ReactElement {
  const text = useText().devices;
  const rung = LADDER.findIndex((one) => one === reach) + 1;
  return (
    <>
      <ol className="ladder" aria-hidden="true">{LADDER.map((one, n) => <li key={one} data-reached={n < rung} />)}</ol>
      <p>{text.rung(rung, worded(text.reach, reach))}</p>
    </>
  );
}

type Asking = Omit<CardProps, "onExpired"> & Pick<ReturnType<typeof useActing>, "busy" | "act" | "say"> & { device: Device };

function Credentials({ device, gateway, why, unsaid, busy, act, say, onChange }: Asking): ReactElement {
  const text = useText().devices;
  const [user, setUser] = useState("");
  const [password, setPassword] = useState("");
  const [trust, setTrust] = useState(false);
  const ids = { user: useId(), password: useId() };
  const ask = (): void => {
    void act(async () => {
      const order = await askAgain(gateway, device.id, { user, password, trust, why: why.trim() });
      setPassword("");
      await onChange();
      if (order.state !== "confirmed") say(worded(text.reason, order.reason));
    });
  };
  return (
    <form className="at-door" autoComplete="off" onSubmit={(event) => { event.preventDefault(); ask(); }}>
      <label htmlFor={ids.user}>{text.user}</label>
      <span><Input id={ids.user} size="small" autoComplete="off" maxLength={MOST.user} value={user} onChange={(event) => { setUser(event.target.value); }} /></span>
      <label htmlFor={ids.password}>{text.password}</label>
      <span><Input id={ids.password} type="password" size="small" autoComplete="new-password" maxLength={MOST.password} value={password} onChange={(event) => { setPassword(event.target.value); }} /></span>
      {device.trouble === "certificate" && <Checkbox checked={trust} onChange={(event) => { setTrust(event.target.checked); }}>{text.trust}</Checkbox>}
      <Button size="small" htmlType="submit" loading={busy} disabled={unsaid}>{text.ask}</Button>
    </form>
  );
}
