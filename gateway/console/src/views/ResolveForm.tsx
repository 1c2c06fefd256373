// Ends an alert with a disposition and a note. The draft is held by the page, so an expired session does not lose it.
import { App, Button, Input, Modal, Radio } from "antd";
import type { ReactElement } from "react";
import { useId, useState } from "react";

import type { Alert, Disposition } from "../api";
import { useText, worded } from "../text/language";
import type { Actions } from "./actions";

export interface Draft { alert: Alert; disposition: Disposition | null; note: string }
export interface ResolveProps { draft: Draft | null; setDraft: (draft: Draft | null) => void; actions: Actions }
/** Below the root, not the body: there the library would lock scrolling by a style element that has no nonce. */
const page = (): HTMLElement => document.getElementById("root") ?? document.body;
const DISPOSITIONS: Disposition[] = ["handled", "false_alarm", "drill", "no_action"];

export function ResolveForm({ draft, setDraft, actions }: ResolveProps): ReactElement | null {
  const text = useText();
  const { message } = App.useApp();
  const noteId = useId();
  const [missing, setMissing] = useState(false);
  if (draft === null) return null;
  const { alert, disposition, note } = draft;
  const close = (): void => { setMissing(false); setDraft(null); };
  const submit = async (): Promise<void> => {
    setMissing(disposition === null);
    if (disposition === null || !(await actions.resolve(alert.id, disposition, note.trim()))) return;
    void message.success(text.resolve.done);
    close();
  };
  const buttons = (
    <>
      <Button onClick={close}>{text.resolve.cancel}</Button>
      <Button type="primary" loading={actions.busy.has(alert.id)} onClick={() => { void submit(); }}>{text.resolve.ok}</Button>
    </>
  );
  return (
    <Modal
      open destroyOnHidden getContainer={page} title={text.resolve.title(worded(text.kind, alert.kind), alert.place.name)} onCancel={close} footer={buttons}
    >
      {alert.condition === "active" && <p className="hint">{text.resolve.active}</p>}
      <fieldset className="plain">
        <legend>{text.resolve.disposition}</legend>
        <Radio.Group
          aria-label={text.resolve.disposition} value={disposition} options={DISPOSITIONS.map((value) => ({ value, label: worded(text.disposition, value) }))}
          onChange={(event) => { setMissing(false); setDraft({ ...draft, disposition: event.target.value as Disposition }); }}
        />
        {missing && <p role="alert" className="fault">{text.resolve.dispositionMissing}</p>}
      </fieldset>
      <label htmlFor={noteId}>{text.resolve.note}</label>
      <Input.TextArea
        id={noteId} rows={3} maxLength={500} showCount value={note} placeholder={text.resolve.noteHelp}
        onChange={(event) => { setDraft({ ...draft, note: event.target.value }); }}
      />
    </Modal>
  );
}
