// Has an edge ask one address what is there: an ONVIF device, a camera known by its stream only, or a line of readers.
import { Alert as Banner, Button, Checkbox, Input, Select } from "antd";
import type { ReactElement } from "react";
import { useId, useState } from "react";

import { askAt, streamOf, WIRES } from "../devices";
import { useText, worded } from "../text/language";
import type { AskingProps } from "./DeviceCard";
import { page, useActing } from "./Dialog";

const MOST = { address: 500, user: 128, password: 256 };
const EMPTY = { address: "", path: "", user: "", password: "" };

export function AskByHand({ gateway, onExpired, why, unsaid, edge, onChange }: AskingProps & { edge: string }): ReactElement {
  const { devices: text, devices: { byHand } } = useText();
  const { busy, failure, say, act } = useActing(onExpired, text.reason);
  const [wire, setWire] = useState<string>("rtsp");
  const [given, setGiven] = useState(EMPTY);
  const [pause, setPause] = useState(false);
  const [asked, setAsked] = useState<number | null>(null);
  const ids = { wire: useId(), address: useId(), path: useId(), user: useId(), password: useId() };
  const put = (name: keyof typeof EMPTY) => (event: { target: { value: string } }): void => { setGiven((now) => ({ ...now, [name]: event.target.value })); };
  const ask = (): void => {
    const stream = wire === "rtsp" ? streamOf(given.address, given.path) : { address: given.address.trim(), user: "", password: "" };
    if (stream === null) {
      say(byHand.wrong);
      return;
    }
    const { address } = stream;
    const user = wire === "osdp" ? "" : given.user || stream.user;
    const password = given.password || stream.password;
    void act(async () => {
      setAsked(null);
      const order = await askAt(gateway, edge, { wire, address, user, password, pause: wire === "osdp" && pause, why: why.trim() });
      setGiven((now) => ({ ...now, address: stream.password === "" ? now.address : address, password: "" }));
      await onChange();
      if (order.state === "confirmed") setAsked(order.devices.length);
      else say(worded(text.reason, order.reason));
    });
  };
  return (
    <form className="by-hand" autoComplete="off" onSubmit={(event) => { event.preventDefault(); ask(); }}>
      <label htmlFor={ids.wire}>{byHand.wire}</label>
      <Select id={ids.wire} value={wire} getPopupContainer={page} options={WIRES.map((value) => ({ value, label: worded(byHand.wires, value) }))} onChange={setWire} />
      <p className="hint">{worded(byHand.help, wire)}</p>
      <label htmlFor={ids.address}>{byHand.address}</label>
      <Input id={ids.address} autoComplete="off" maxLength={MOST.address} value={given.address} placeholder={worded(byHand.example, wire)} onChange={put("address")} />
      {wire === "rtsp" && <label htmlFor={ids.path}>{byHand.path}</label>}
      {wire === "rtsp" && <Input id={ids.path} autoComplete="off" maxLength={MOST.address} value={given.path} placeholder={byHand.pathHelp} onChange={put("path")} />}
      {wire !== "osdp" && <label htmlFor={ids.user}>{text.user}</label>}
      {wire !== "osdp" && <Input id={ids.user} autoComplete="off" maxLength={MOST.user} value={given.user} onChange={put("user")} />}
      <label htmlFor={ids.password}>{wire === "osdp" ? byHand.key : text.password}</label>
      <Input id={ids.password} type="password" autoComplete="new-password" maxLength={MOST.password} value={given.password} onChange={put("password")} />
      {wire === "osdp" && <Checkbox checked={pause} onChange={(event) => { setPause(event.target.checked); }}>{byHand.pause}</Checkbox>}
      <Button type="primary" htmlType="submit" loading={busy} disabled={edge === "" || unsaid || given.address.trim() === ""}>{text.ask}</Button>
      {failure !== null && <Banner type="error" role="alert" showIcon title={failure} />}
      {asked !== null && <p role="status">{byHand.asked(asked)}</p>}
    </form>
  );
}
