// Finds the person that something is done for, among those whom the gateway shows.
import { Button, Input } from "antd";
import type { ReactElement } from "react";
import { useId, useState } from "react";

import type { PersonRow } from "../office";
import { useText } from "../text/language";

export type Found = { people: PersonRow[]; more: boolean } | null;
export interface PersonSearchProps { label: string; found: Found; busy: boolean; onFind: (name: string) => void; onChoose: (id: string) => void }

export function PersonSearch({ label, found, busy, onFind, onChoose }: PersonSearchProps): ReactElement {
  const text = useText().faces.enrol;
  const id = useId();
  const [name, setName] = useState("");
  const submit = (): void => { if (name.trim() !== "") onFind(name.trim()); };
  return (
    <>
      <form className="find" onSubmit={(event) => { event.preventDefault(); submit(); }}>
        <label htmlFor={id}>{label}</label>
        <Input id={id} autoFocus autoComplete="off" maxLength={64} value={name} onChange={(event) => { setName(event.target.value); }} />
        <Button type="primary" htmlType="submit" loading={busy}>{text.find}</Button>
      </form>
      <div aria-live="polite">
        {found?.people.length === 0 && <p>{text.nobody}</p>}
        {found !== null && found.people.length > 0 && (
          <ul className="found" aria-label={text.results}>
            {found.people.map((each) => (
              <li key={each.id}>
                <Button block disabled={busy} onClick={() => { onChoose(each.id); }}>
                  <span>{each.name}</span> <small className="faint">{each.external_id ?? each.id}</small>
                </Button>
              </li>
            ))}
          </ul>
        )}
        {found?.more === true && <p className="hint">{text.more}</p>}
      </div>
    </>
  );
}
