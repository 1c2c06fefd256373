// The fields of the form that many cameras share, and the list to choose the cameras from.
import { Checkbox, Input, InputNumber, Select } from "antd";
import type { ReactElement, ReactNode } from "react";
import { useId } from "react";

import type { Listed } from "../register";
import { masksOf, PLACE_CLASSES, RATES } from "../register";
import { useText, worded } from "../text/language";
import { page } from "./Dialog";

const TEXT_MOST = 128;
const FIRST_MOST = 9999;
const MASKS_ROWS = 2;

export interface Filled {
  purpose: string; placeClass: string; sign: string; filed: string; responsible: string; name: string; first: number; rate: string; masks: string;
  checked: boolean; replace: boolean;
}
export const EMPTY: Filled = {
  purpose: "", placeClass: PLACE_CLASSES[0], sign: "", filed: "", responsible: "", name: "", first: 1, rate: "", masks: "", checked: false, replace: false,
};

interface ChoiceProps { cameras: Listed[]; chosen: string[]; onChange: (ids: string[]) => void }

export function CameraChoice({ cameras, chosen, onChange }: ChoiceProps): ReactElement {
  const text = useText().devices.register;
  const lacking = cameras.filter((camera) => !camera.complete).map((camera) => camera.id);
  const all = lacking.length > 0 && lacking.every((id) => chosen.includes(id));
  const options = cameras.map(({ id, name, complete }) => ({ value: id, label: text.camera(name, complete ? text.complete : text.lacking) }));
  return (
    <fieldset className="plain choice">
      <legend>{text.cameras}: {text.chosen(chosen.length)}</legend>
      {lacking.length > 0 && <Checkbox checked={all} onChange={(event) => { onChange(event.target.checked ? lacking : []); }}>{text.all(lacking.length)}</Checkbox>}
      <Checkbox.Group className="choices" value={chosen} options={options} onChange={onChange} />
    </fieldset>
  );
}

export function RegisterFields({ filled, onChange }: { filled: Filled; onChange: (filled: Filled) => void }): ReactElement {
  const text = useText().devices.register;
  const put = <K extends keyof Filled>(key: K) => (value: Filled[K]): void => { onChange({ ...filled, [key]: value }); };
  const typed = (key: "purpose" | "sign" | "filed" | "responsible" | "name" | "masks") => (event: { target: { value: string } }): void => { put(key)(event.target.value); };
  const rates = [{ value: "", label: text.rateKept }, ...RATES.map((value) => ({ value, label: worded(text.rates, value) }))];
  const badMasks = masksOf(filled.masks) === null;
  return (
    <div className="by-hand">
      <Field label={text.purpose}>{(id) => <Input id={id} required maxLength={TEXT_MOST} value={filled.purpose} onChange={typed("purpose")} />}</Field>
      <Field label={text.placeClass}>
        {(id) => <Select id={id} value={filled.placeClass} getPopupContainer={page} options={PLACE_CLASSES.map((value) => ({ value, label: worded(text.placeClasses, value) }))} onChange={put("placeClass")} />}
      </Field>
      <Field label={text.sign}>{(id) => <Input id={id} type="date" required value={filled.sign} onChange={typed("sign")} />}</Field>
      <Field label={text.filed}>{(id) => <Input id={id} type="date" value={filled.filed} onChange={typed("filed")} />}</Field>
      <Field label={text.responsible}>{(id) => <Input id={id} maxLength={TEXT_MOST} value={filled.responsible} onChange={typed("responsible")} />}</Field>
      <Field label={text.name} help={text.nameHelp}>{(id) => <Input id={id} maxLength={TEXT_MOST} value={filled.name} onChange={typed("name")} />}</Field>
      <Field label={text.first}>{(id) => <InputNumber id={id} min={0} max={FIRST_MOST} precision={0} value={filled.first} onChange={(value) => { put("first")(value ?? 1); }} />}</Field>
      <Field label={text.rate}>{(id) => <Select id={id} value={filled.rate} getPopupContainer={page} options={rates} onChange={put("rate")} />}</Field>
      <Field label={text.masks} help={text.masksHelp}>{(id) => <Input.TextArea id={id} rows={MASKS_ROWS} value={filled.masks} onChange={typed("masks")} />}</Field>
      {badMasks && <p role="alert" className="fault">{text.masksWrong}</p>}
      <Checkbox checked={filled.checked} onChange={(event) => { put("checked")(event.target.checked); }}>{text.checked}</Checkbox>
      <Checkbox checked={filled.replace} onChange={(event) => { put("replace")(event.target.checked); }}>{text.replace}</Checkbox>
    </div>
  );
}

function Field({ label, help, children }: { label: string; help?: string; children: (id: string) => ReactNode }): ReactElement {
  const id = useId();
  return (
    <>
      <label htmlFor={id}>{label}</label>
      {children(id)}
      {help !== undefined && <p className="hint">{help}</p>}
    </>
  );
}
