// One device that was found: how far it was reached, why no further and what to do, its credentials, and its parts.
import { Alert as Banner, Button, Checkbox, Input } from "antd";
import type { ReactElement } from "react";
import { useId, useState } from "react";

import type { Gateway } from "../api";
import type { Device, Edge } from "../devices";
import { askAgain, lacksKey, LADDER, nameOf, offer, remove } from "../devices";
import { told, useText, worded } from "../text/language";
import { useActing } from "./Dialog";
import { Mark } from "./Mark";
import { PartRow } from "./PartRow";
import { ReaderKey } from "./ReaderKey";
import { ReplaceForm } from "./ReplaceForm";

export interface AskingProps { gateway: Gateway; onExpired: () => void; why: string; unsaid: boolean; onChange: () => Promise<void> }
export interface CardProps extends AskingProps {
  others: Device[];
  edges: Edge[];
  /** The name of a door or camera here. */
  called: (id: string) => string;
}
const MOST = { user: 128, password: 256 };

export function DeviceCard({ device, ...props }: CardProps & { device: Device }): ReactElement {
  const text = useText().devices;
  const { gateway, onExpired, why, unsaid, onChange, edges } = props;
  const { busy, failure, say, act } = useActing(onExpired, text.reason);
  const [replacing, setReplacing] = useState(false);
  const title = useId();
  const after = (work: () => Promise<unknown>) => (): void => { void act(async () => { await work(); await onChange(); }); };
  const removed = device.state === "removed";
  const stopped = told(text.why, device.code, device.detail);
  return (
    <li className="device" aria-labelledby={title} data-device={device.id}>
      <h3 id={title}>{nameOf(device)} {removed && <Mark tone="calm" word={text.removed} />}</h3>
      <p className="hint">{worded(text.byHand.wires, device.wire)} <code>{device.address}</code> {text.stands(edges.find((edge) => edge.id === device.edge_id)?.name ?? device.edge_id)}</p>
      {!removed && <Ladder device={device} />}
      {failure !== null && <Banner type="error" role="alert" showIcon title={failure} />}
      {!removed && device.trouble !== "" && <p className="fault">{worded(text.trouble, device.trouble)}{stopped !== "" && <small className="faint"> {stopped}</small>}</p>}
      {device.fingerprint !== "" && device.trouble === "certificate" && <p>{text.fingerprint} <code>{device.fingerprint}</code></p>}
      {!removed && device.wire !== "mqtt" && <Credentials {...{ device, gateway, why, unsaid, busy, act, say, onChange }} />}
      {lacksKey(device) && <ReaderKey {...{ device, gateway, why, unsaid, busy, act, say, onChange }} />}
      {!removed && device.parts.map((part) => <PartRow key={part.id} {...props} {...{ device, part }} />)}
      {replacing && <ReplaceForm {...props} device={device} onEnd={() => { setReplacing(false); }} />}
      <p className="at-door">
        {device.state === "adopted" && !replacing && <Button size="small" onClick={() => { setReplacing(true); }}>{text.replace.open}</Button>}
        {device.state === "found" && <Button size="small" type="text" disabled={unsaid || busy} onClick={after(() => remove(gateway, device.id, why.trim()))}>{text.remove}</Button>}
        {removed && <Button size="small" disabled={unsaid || busy} onClick={after(() => offer(gateway, device.id, why.trim()))}>{text.offer}</Button>}
      </p>
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

export type Asking = Omit<AskingProps, "onExpired"> & Pick<ReturnType<typeof useActing>, "busy" | "act" | "say"> & { device: Device };

function Credentials({ device, gateway, why, unsaid, busy, act, say, onChange }: Asking): ReactElement {
  const text = useText().devices;
  const [user, setUser] = useState("");
  const [password, setPassword] = useState("");
  const [trust, setTrust] = useState(false);
  const [passOn, setPassOn] = useState(false);
  const reader = device.wire === "osdp";
  const ids = { user: useId(), password: useId() };
  const ask = (): void => {
    void act(async () => {
      const order = await askAgain(gateway, device.id, { user, password, trust, passOn, why: why.trim() });
      setPassword("");
      setPassOn(false);
      await onChange();
      if (order.state !== "confirmed") say(worded(text.reason, order.reason));
    });
  };
  return (
    <form className="at-door" autoComplete="off" onSubmit={(event) => { event.preventDefault(); ask(); }}>
      {!reader && <label htmlFor={ids.user}>{text.user}</label>}
      {!reader && <span><Input id={ids.user} size="small" autoComplete="off" maxLength={MOST.user} value={user} onChange={(event) => { setUser(event.target.value); }} /></span>}
      <label htmlFor={ids.password}>{reader ? text.byHand.key : text.password}</label>
      <span><Input id={ids.password} type="password" size="small" autoComplete="new-password" maxLength={MOST.password} value={password} onChange={(event) => { setPassword(event.target.value); }} /></span>
      {device.trouble === "certificate" && <Checkbox checked={trust} onChange={(event) => { setTrust(event.target.checked); }}>{text.trust}</Checkbox>}
      {!reader && device.state === "adopted" && <Checkbox checked={passOn} onChange={(event) => { setPassOn(event.target.checked); }}>{text.passOn}</Checkbox>}
      <Button size="small" htmlType="submit" loading={busy} disabled={unsaid}>{text.ask}</Button>
    </form>
  );
}
