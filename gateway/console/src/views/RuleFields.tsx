// The rules of a door as fields, each with what it does in one sentence. What depends on another shows only with it.
import { Checkbox, Input, InputNumber, Radio, Select } from "antd";
import type { ReactElement } from "react";

import type { Rules, Schedule } from "../doors";
import { EXITS, FACTORS, FAILS, PASSBACKS } from "../doors";
import { useText, worded } from "../text/language";
import { page } from "./Dialog";
import { Rule } from "./Rule";

export type Faults = Partial<Record<keyof Rules, string>>;
export interface RuleFieldsProps { rules: Rules; faults: Faults; locked: boolean; schedules: Schedule[] | null; onChange: (change: Partial<Rules>) => void }
const SLUICE_MOST = 64;
const BOUNDS = { passback_reset_min: [0, 10_080], second_within_s: [3, 120], held_open_s: [1, 3600], unlock_s: [1, 60] } as const;

export function RuleFields(props: RuleFieldsProps): ReactElement {
  const { rules, faults, locked, onChange } = props;
  const text = useText().atDoors.rules;
  return (
    <div className="rules">
      <Rule label={text.factors.label} help={text.factors.help} fault={faults.factors}>
        <Checkbox.Group
          value={rules.factors} disabled={locked} options={FACTORS.map((value) => ({ value, label: worded(text.factors.word, value) }))}
          onChange={(chosen) => { onChange({ factors: FACTORS.filter((factor) => chosen.includes(factor)) }); }}
        />
      </Rule>
      <Rule label={text.passback.label} help={text.passback.help} fault={faults.passback ?? faults.passback_reset_min}>
        <Choice what="passback" words={text.passback.word} all={PASSBACKS} {...props} />
        {rules.passback !== "off" && <Amount what="passback_reset_min" label={text.passback.reset} unit={text.minutes} {...props} />}
      </Rule>
      <Rule label={text.interlock.label} help={text.interlock.help} fault={faults.interlock}>
        <Input value={rules.interlock} disabled={locked} maxLength={SLUICE_MOST} aria-label={text.interlock.label} onChange={(event) => { onChange({ interlock: event.target.value }); }} />
      </Rule>
      <Rule label={text.two.label} help={text.two.help} fault={faults.two_person ?? faults.second_within_s}>
        <Checkbox checked={rules.two_person} disabled={locked} onChange={(event) => { onChange({ two_person: event.target.checked }); }}>{text.two.on}</Checkbox>
        {rules.two_person && <Amount what="second_within_s" label={text.two.within} unit={text.seconds} {...props} />}
      </Rule>
      <Free {...props} />
      <Rule label={text.held.label} help={text.held.help} fault={faults.held_open_s}>
        <Amount what="held_open_s" unit={text.seconds} name={text.held.label} {...props} />
      </Rule>
      <Rule label={text.unlock.label} help={text.unlock.help} fault={faults.unlock_s}>
        <Amount what="unlock_s" unit={text.seconds} name={text.unlock.label} {...props} />
      </Rule>
      <Rule label={text.fail.label} help={text.fail.help} fault={faults.fail}>
        <Choice what="fail" words={text.fail.word} all={FAILS} {...props} />
      </Rule>
      <Rule label={text.exit.label} help={text.exit.help} fault={faults.exit_kind}>
        <Choice what="exit_kind" words={text.exit.word} all={EXITS} {...props} />
      </Rule>
    </div>
  );
}

function Free({ rules, faults, locked, schedules, onChange }: RuleFieldsProps): ReactElement {
  const text = useText().atDoors.rules;
  const held = rules.free_schedule_id;
  const known = schedules ?? [];
  const named = known.map((one) => ({ value: one.id, label: one.name === "" ? one.id : one.name }));
  const kept = held !== null && !known.some((one) => one.id === held) ? [{ value: held, label: held }] : [];
  return (
    <Rule label={text.free.label} help={text.free.help} fault={faults.free_schedule_id ?? faults.first_person}>
      <Select
        value={held ?? ""} disabled={locked} getPopupContainer={page} aria-label={text.free.label} options={[{ value: "", label: text.free.never }, ...named, ...kept]}
        onChange={(chosen) => { onChange(chosen === "" ? { free_schedule_id: null, first_person: false } : { free_schedule_id: chosen }); }}
      />
      {schedules === null && <p className="hint">{text.free.hidden}</p>}
      {held !== null && <Checkbox checked={rules.first_person} disabled={locked} onChange={(event) => { onChange({ first_person: event.target.checked }); }}>{text.free.first}</Checkbox>}
    </Rule>
  );
}

interface ChoiceProps extends RuleFieldsProps { what: "passback" | "fail" | "exit_kind"; words: Record<string, string>; all: readonly string[] }

function Choice({ what, words, all, rules, locked, onChange }: ChoiceProps): ReactElement {
  const options = all.map((value) => ({ value, label: worded(words, value) }));
  return <Radio.Group value={rules[what]} disabled={locked} options={options} onChange={(event) => { onChange({ [what]: event.target.value as string }); }} />;
}

interface AmountProps extends RuleFieldsProps { what: keyof typeof BOUNDS; unit: string; label?: string; name?: string }

function Amount({ what, unit, label, name, rules, locked, onChange }: AmountProps): ReactElement {
  const [min, max] = BOUNDS[what];
  return (
    <label className="amount">
      {label !== undefined && <span>{label}</span>}
      <InputNumber
        min={min} max={max} value={rules[what]} disabled={locked} aria-label={name ?? label}
        onChange={(value) => { if (value !== null) onChange({ [what]: value }); }}
      />
      <span className="faint">{unit}</span>
    </label>
  );
}
