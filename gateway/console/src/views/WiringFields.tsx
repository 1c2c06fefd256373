// How a card reader stands at its door: which door and side, the output that the lock hangs on, and what is wired to its inputs.
import { Checkbox, InputNumber, Select } from "antd";
import type { ReactElement, ReactNode } from "react";
import { useId } from "react";

import type { Standing } from "../devices";
import { INPUTS, SIDES } from "../devices";
import { useText, worded } from "../text/language";
import { page } from "./Dialog";

const NUMBER_MOST = 255;

export interface WiringProps {
  standing: Standing; strike: number | null; onChange: (standing: Standing) => void;
  /** Doors that have a reader on this line, and their names. */
  doors: { value: string; label: string }[];
}

export function WiringFields({ standing, strike, doors, onChange }: WiringProps): ReactElement {
  const text = useText().devices.wiring;
  const { inputs, inverted } = standing;
  const put = (change: Partial<Standing>): void => { onChange({ ...standing, ...change }); };
  return (
    <div className="by-hand">
      {doors.length > 0 && (
        <Field label={text.door}>
          {(id) => <Select id={id} size="small" value={standing.door} getPopupContainer={page} options={[{ value: "", label: text.newDoor }, ...doors]} onChange={(door) => { put({ door }); }} />}
        </Field>
      )}
      <Field label={text.side}>
        {(id) => <Select id={id} size="small" value={standing.side} getPopupContainer={page} options={SIDES.map((value) => ({ value, label: worded(text.sides, value) }))} onChange={(side) => { put({ side }); }} />}
      </Field>
      <Field label={text.strike}>{(id) => <Numbered id={id} value={strike} onChange={(value) => { put({ strike: value }); }} />}</Field>
      {strike === null && <p className="hint">{standing.door === "" ? text.noStrike : text.strikeThere}</p>}
      {INPUTS.map((input) => (
        <Field key={input} label={worded(text.inputs, input)}>
          {(id) => (
            <span className="amount">
              <Numbered id={id} value={inputs[input] ?? null} onChange={(value) => { put({ inputs: { ...inputs, [input]: value } }); }} />
              {inputs[input] != null && (
                <Checkbox
                  checked={inverted.includes(input)} aria-label={text.invertedOf(worded(text.inputs, input))}
                  onChange={({ target }) => { put({ inverted: [...inverted.filter((one) => one !== input), ...(target.checked ? [input] : [])] }); }}
                >
                  {text.inverted}
                </Checkbox>
              )}
            </span>
          )}
        </Field>
      ))}
      <p className="hint">{text.help}</p>
    </div>
  );
}

function Numbered({ id, value, onChange }: { id: string; value: number | null; onChange: (value: number | null) => void }): ReactElement {
  return <InputNumber id={id} size="small" min={0} max={NUMBER_MOST} precision={0} value={value} onChange={onChange} />;
}

function Field({ label, children }: { label: string; children: (id: string) => ReactNode }): ReactElement {
  const id = useId();
  return (
    <>
      <label htmlFor={id}>{label}</label>
      {children(id)}
    </>
  );
}
