// One camera or door of a device: tried once, on record, and adopted under a name. A look shows nobody's face.
import { Alert as Banner, Button, Input } from "antd";
import type { ReactElement } from "react";
import { useEffect, useId, useState } from "react";

import type { Device, Order, Part } from "../devices";
import { adopt, doorsBeside, NOT_SAID, stillOf, strikeOf, tryPart } from "../devices";
import { useText, worded } from "../text/language";
import type { CardProps } from "./DeviceCard";
import { useActing } from "./Dialog";
import { Mark } from "./Mark";
import { WiringFields } from "./WiringFields";

const NAME_MOST = 128;

export function PartRow({ part, device, others, gateway, onExpired, why, unsaid, onChange, called }: Omit<CardProps, "edges"> & { part: Part; device: Device }): ReactElement {
  const text = useText().devices;
  const { busy, failure, act } = useActing(onExpired, text.reason);
  const [name, setName] = useState(part.name);
  const [tried, setTried] = useState<Order | null>(null);
  const [shown, setShown] = useState<string | null>(null);
  const [standing, setStanding] = useState(NOT_SAID);
  const id = useId();
  const reader = device.wire === "osdp";
  const strike = reader ? strikeOf(standing, part) : null;
  useEffect(() => () => { if (shown !== null) URL.revokeObjectURL(shown); }, [shown]);
  const camera = part.kind === "camera";
  const label = `${worded(text.kind, part.kind)} ${part.name === "" ? part.id : part.name}`;
  const attempt = (): void => {
    void act(async () => {
      const order = await tryPart(gateway, device.id, { part, strike, why: why.trim() });
      setTried(order);
      setShown(camera && order.state === "confirmed" ? URL.createObjectURL(await stillOf(gateway, order.id, why.trim())) : null);
    });
  };
  const take = (): void => {
    void act(async () => {
      await adopt(gateway, device.id, { part, called: name.trim(), why: why.trim(), standing: reader ? standing : null });
      await onChange();
    });
  };
  const doors = doorsBeside(device, others).map((value) => ({ value, label: called(value) }));
  return (
    <div className="part" role="group" aria-label={label} data-part={part.id}>
      <p className="at-door">
        <strong>{label}</strong>
        {part.width_px > 0 && <small className="faint">{text.size(part.width_px, part.height_px)}</small>}
        {part.adopted_as !== null && <Mark tone="good" word={text.adopted(called(part.adopted_as))} />}
        {part.adopted_as === null && <Button size="small" loading={busy} disabled={unsaid} onClick={attempt}>{camera ? text.still : text.unlock}</Button>}
        {tried !== null && <Mark tone={tried.state === "confirmed" ? "good" : "warn"} word={outcome(text, tried)} />}
      </p>
      {part.capabilities.length > 0 && <p className="hint">{text.can}{part.capabilities.map((one) => worded(text.capability, one)).join(text.comma)}</p>}
      {failure !== null && <Banner type="error" role="alert" showIcon title={failure} />}
      {shown !== null && <img src={shown} alt={text.picture(label)} />}
      {reader && part.adopted_as === null && <WiringFields {...{ standing, strike, doors }} onChange={setStanding} />}
      {part.adopted_as === null && (
        <p className="at-door">
          <label htmlFor={id}>{text.called}</label>
          <span><Input id={id} size="small" maxLength={NAME_MOST} value={name} onChange={(event) => { setName(event.target.value); }} /></span>
          <Button size="small" type="primary" loading={busy} disabled={unsaid} onClick={take}>{text.adopt}</Button>
          {camera && <small className="faint">{text.registerNext}</small>}
        </p>
      )}
    </div>
  );
}

function outcome(text: { tried: Record<string, string>; reason: Record<string, string> }, { state, reason }: Order): string {
  const word = worded(text.tried, state);
  return state === "confirmed" || reason === "" ? word : `${word}: ${worded(text.reason, reason)}`;
}
