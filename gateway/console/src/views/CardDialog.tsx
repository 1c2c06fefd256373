// Gives a person a card: a desk reader types its number and presses Enter; the canonical number is seen before it is saved.
import type { InputRef } from "antd";
import { App, Button, Input, Select } from "antd";
import type { ReactElement } from "react";
import { useId, useRef, useState } from "react";

import { cardRead } from "../cards";
import type { CardFormat } from "../doors";
import { cardFormats, giveCard } from "../doors";
import type { Person } from "../office";
import { findByNameOrNumber, person } from "../office";
import { useText, worded } from "../text/language";
import type { Acting } from "./Dialog";
import { Frame, page, useActing, Why } from "./Dialog";
import type { DialogProps } from "./Office";
import type { Found } from "./PersonSearch";
import { PersonSearch } from "./PersonSearch";

const NO_WORDS: Record<string, string> = {};
const READING_MOST = 64;
const LABEL_MOST = 64;
const REMEMBERED = "gatehouse.desk-reader";
interface Chosen { who: Person; formats: CardFormat[] }

export function CardDialog({ gateway, onExpired, onClose }: DialogProps): ReactElement {
  const { atDoors: { card: text }, faces: { enrol } } = useText();
  const { message } = App.useApp();
  const acting = useActing(onExpired, NO_WORDS);
  const [why, setWhy] = useState("");
  const [found, setFound] = useState<Found>(null);
  const [chosen, setChosen] = useState<Chosen | null>(null);
  const [given, setGiven] = useState(0);
  const choose = (id: string): void => {
    void acting.act(async () => {
      const who = await person(gateway, id, why);
      setChosen({ who, formats: await cardFormats(gateway, who.site_id) });
    });
  };
  const give = (card: { number: string; label: string }): Promise<void> => acting.act(async () => {
    if (chosen === null) return;
    await giveCard(gateway, chosen.who.id, { ...card, why });
    setGiven(given + 1);
    void message.success(text.given(chosen.who.name));
    setChosen({ ...chosen, who: await person(gateway, chosen.who.id, why) });
  });
  return (
    <Frame title={text.title} onClose={onClose} failure={acting.failure}>
      <Why value={why} onChange={setWhy} />
      {chosen === null && (
        <PersonSearch
          label={text.search} found={found} busy={acting.busy} onChoose={choose}
          onFind={(wanted) => { void acting.act(async () => { setFound(await findByNameOrNumber(gateway, wanted, why)); }); }}
        />
      )}
      {chosen !== null && (
        <>
          <p className="who">
            <strong>{chosen.who.name}</strong> <span className="faint">{chosen.who.external_id ?? chosen.who.id}</span>
            <Button size="small" onClick={() => { setChosen(null); acting.say(null); }}>{enrol.other}</Button>
          </p>
          <p>{text.held(cardsOf(chosen.who))}</p>
          <CardFields key={`${chosen.who.id} ${given}`} formats={chosen.formats} acting={acting} onGive={give} />
        </>
      )}
    </Frame>
  );
}

const cardsOf = (who: Person): number => (who.credentials ?? []).filter((one) => one.kind === "card" && one.state === "active").length;

interface FieldsProps { formats: CardFormat[]; acting: Acting; onGive: (card: { number: string; label: string }) => Promise<void> }

function CardFields({ formats, acting, onGive }: FieldsProps): ReactElement {
  const text = useText().atDoors.card;
  const ids = { format: useId(), read: useId(), label: useId() };
  const reader = useRef<InputRef>(null);
  const [formatId, setFormatId] = useState(() => localStorage.getItem(REMEMBERED) ?? "");
  const [typed, setTyped] = useState("");
  const [label, setLabel] = useState("");
  const format = formats.find((one) => one.id === formatId) ?? null;
  const read = typed.trim() === "" ? null : cardRead(typed, format);
  // The next card that is laid on the reader must find its field, not the button, which Enter would press again.
  const give = (value: string): void => { void onGive({ number: value, label: label.trim() }).then(() => { reader.current?.select(); }); };
  const number = read !== null && "number" in read ? read.number : null;
  return (
    <div className="card-fields">
      <label htmlFor={ids.format}>{text.format}</label>
      <Select
        id={ids.format} value={format?.id ?? ""} getPopupContainer={page}
        options={[{ value: "", label: text.asItComes }, ...formats.map((one) => ({ value: one.id, label: one.name === "" ? one.id : one.name }))]}
        onChange={(id) => { localStorage.setItem(REMEMBERED, id); setFormatId(id); }}
      />
      <label htmlFor={ids.read}>{text.read}</label>
      {/* Enter ends a reading and saves nothing: the next card that is laid on the reader takes its place. */}
      <Input
        id={ids.read} ref={reader} autoFocus autoComplete="off" spellCheck={false} maxLength={READING_MOST} value={typed} placeholder={text.readHelp}
        onChange={(event) => { setTyped(event.target.value); }} onPressEnter={() => { reader.current?.select(); }}
      />
      <div className="card-number" role="status">
        {number !== null && <p>{text.number} <strong>{number}</strong></p>}
        {number !== null && <p className="hint">{text.numberHelp}</p>}
        {read !== null && "fault" in read && <p className="fault">{worded(text.fault, read.fault)}</p>}
      </div>
      <label htmlFor={ids.label}>{text.label}</label>
      <Input id={ids.label} autoComplete="off" maxLength={LABEL_MOST} value={label} placeholder={text.labelHelp} onChange={(event) => { setLabel(event.target.value); }} />
      <Button type="primary" loading={acting.busy} disabled={number === null} onClick={() => { if (number !== null) give(number); }}>{text.give}</Button>
    </div>
  );
}
