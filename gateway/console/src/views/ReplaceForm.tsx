// Lets another device take over the doors and cameras of one that is in use; their ids, permits and history stay.
import { Alert as Banner, Button, Select } from "antd";
import type { ReactElement } from "react";
import { useId, useState } from "react";

import type { Device, Part } from "../devices";
import { heirsOf, nameOf, replace } from "../devices";
import { useText, worded } from "../text/language";
import type { CardProps } from "./DeviceCard";
import { page, useActing } from "./Dialog";

export function ReplaceForm({ device, others, gateway, onExpired, why, unsaid, onChange, onEnd, called }: CardProps & { device: Device; onEnd: () => void }): ReactElement {
  const { devices: text, devices: { replace: words } } = useText();
  const { busy, failure, act } = useActing(onExpired, text.reason);
  const [by, setBy] = useState("");
  const [chosen, setChosen] = useState<Record<string, string>>({});
  const id = useId();
  const used = device.parts.filter((part) => part.adopted_as !== null);
  const heirs = others.filter((one) => one.id !== device.id && one.edge_id === device.edge_id && one.state !== "removed" && used.every((part) => heirsOf(part, one).length > 0));
  const heir = heirs.find((one) => one.id === by);
  const becomes = (part: Part, from: Device): string => chosen[part.id] ?? heirsOf(part, from)[0]?.id ?? "";
  const take = (): void => {
    if (heir === undefined) return;
    const parts = Object.fromEntries(used.map((part) => [part.id, becomes(part, heir)]));
    void act(async () => {
      await replace(gateway, device.id, { by: heir.id, parts, why: why.trim() });
      await onChange();
    });
  };
  return (
    <form className="by-hand" onSubmit={(event) => { event.preventDefault(); take(); }}>
      <p className="hint">{words.help}</p>
      {heirs.length === 0 && <p role="status">{words.none}</p>}
      {heirs.length > 0 && <label htmlFor={id}>{words.by}</label>}
      {heirs.length > 0 && (
        <Select
          id={id} value={by} getPopupContainer={page} onChange={(next) => { setBy(next); setChosen({}); }}
          options={[{ value: "", label: words.choose, disabled: true }, ...heirs.map((one) => ({ value: one.id, label: nameOf(one) }))]}
        />
      )}
      {heir !== undefined && used.map((part) => (
        <Becomes
          key={part.id} label={words.part(`${worded(text.kind, part.kind)} ${part.name || part.id}`, called(part.adopted_as ?? ""))} value={becomes(part, heir)}
          options={heirsOf(part, heir).map((one) => ({ value: one.id, label: `${worded(text.kind, one.kind)} ${one.name || one.id}` }))}
          onChoose={(next) => { setChosen((now) => ({ ...now, [part.id]: next })); }}
        />
      ))}
      {failure !== null && <Banner type="error" role="alert" showIcon title={failure} />}
      <p className="at-door">
        <Button size="small" type="primary" htmlType="submit" loading={busy} disabled={unsaid || heir === undefined}>{words.submit}</Button>
        <Button size="small" onClick={onEnd}>{words.cancel}</Button>
      </p>
    </form>
  );
}

interface BecomesProps { label: string; value: string; options: { value: string; label: string }[]; onChoose: (id: string) => void }

function Becomes({ label, value, options, onChoose }: BecomesProps): ReactElement {
  const id = useId();
  return (
    <>
      <label htmlFor={id}>{label}</label>
      <Select id={id} value={value} getPopupContainer={page} options={options} onChange={onChoose} />
    </>
  );
}
