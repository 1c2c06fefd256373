// One form for the register entries of many cameras: choose them, preview what becomes of each, register, export the result.
import { Alert as Banner, Button, Skeleton } from "antd";
import type { ReactElement } from "react";
import { useCallback, useEffect, useState } from "react";

import type { Form, Listed, Row } from "../register";
import { csvOf, listed, masksOf, register, save } from "../register";
import { told, useText, worded } from "../text/language";
import type { AskingProps } from "./DeviceCard";
import { useActing } from "./Dialog";
import { Mark } from "./Mark";
import type { Filled } from "./RegisterFields";
import { CameraChoice, EMPTY, RegisterFields } from "./RegisterFields";

interface Shown { rows: Row[]; preview: boolean }

export function RegisterPanel({ gateway, onExpired, why, unsaid }: Omit<AskingProps, "onChange">): ReactElement {
  const text = useText().devices.register;
  const { busy, failure, act } = useActing(onExpired, text.reason);
  const [held, setHeld] = useState<Listed[] | null>(null);
  const [chosen, setChosen] = useState<string[]>([]);
  const [filled, setFilled] = useState<Filled>(EMPTY);
  const [shown, setShown] = useState<Shown | null>(null);
  const load = useCallback(async () => { setHeld(await listed(gateway)); }, [gateway]);
  useEffect(() => { void act(load); }, [act, load]);
  const form = formOf(filled);
  const lacking = unsaid || chosen.length === 0 || form === null;
  const run = (preview: boolean) => (): void => {
    if (form === null) return;
    void act(async () => {
      setShown({ rows: await register(gateway, chosen, { form, preview, why: why.trim() }), preview });
      if (!preview) await load();
    });
  };
  const touch = <T,>(set: (value: T) => void) => (value: T): void => { set(value); setShown(null); };
  if (held === null) return failure === null ? <Skeleton active /> : <Banner type="error" role="alert" showIcon title={failure} />;
  return (
    <div className="office">
      <p className="hint">{text.help}</p>
      {held.length === 0 ? <p role="status">{text.none}</p> : <CameraChoice cameras={held} chosen={chosen} onChange={touch(setChosen)} />}
      <RegisterFields filled={filled} onChange={touch(setFilled)} />
      {failure !== null && <Banner type="error" role="alert" showIcon title={failure} />}
      <p className="at-door">
        <Button loading={busy} disabled={lacking} onClick={run(true)}>{text.preview}</Button>
        <Button type="primary" loading={busy} disabled={lacking || shown?.preview !== true} onClick={run(false)}>{text.submit(shown === null ? chosen.length : counted(shown.rows, "changed"))}</Button>
      </p>
      {shown !== null && <Rows {...shown} />}
    </div>
  );
}

const counted = (rows: Row[], state: string): number => rows.filter((row) => row.state === state).length;

/** The form as the gateway takes it; null as long as something is missing. */
function formOf({ purpose, placeClass, sign, filed, responsible, name, first, rate, masks, checked, replace }: Filled): Form | null {
  const read = masksOf(masks);
  if (purpose.trim() === "" || sign === "" || !checked || read === null) return null;
  const entry = { purpose: purpose.trim(), place_class: placeClass, sign_confirmed_on: sign, banned_area_checked: checked, filed_on: filed || null, responsible: responsible.trim() };
  return { register: entry, replace, name: name.trim(), first, rate: rate || null, privacy_masks: read };
}

/** What becomes or became of each camera, and a way to take it along. */
function Rows({ rows, preview }: Shown): ReactElement {
  const text = useText().devices.register;
  const tell = (row: Row): string => told(text.reason, row.reason, row.detail);
  const take = (): void => {
    const head = [text.head.id, text.head.name, text.head.state, text.head.reason];
    save(csvOf(head, rows.map((row) => [row.camera_id, row.name, worded(text.state, row.state), tell(row)])), { file: text.file, type: "text/csv;charset=utf-8" });
  };
  const numbers = [counted(rows, "changed"), counted(rows, "refused")] as const;
  return (
    <>
      <p role="status">{preview ? text.wouldBe(...numbers) : text.done(...numbers)}</p>
      <div className="wide" tabIndex={0} role="region" aria-label={text.tab}>
        <table className="evidence">
          <thead><tr>{[text.head.id, text.head.name, text.head.state, text.head.reason].map((word) => <th key={word} scope="col">{word}</th>)}</tr></thead>
          <tbody>
            {rows.map((row) => (
              <tr key={row.camera_id} data-row={row.camera_id}>
                <td>{row.camera_id}</td><td>{row.name}</td>
                <td><Mark tone={row.state === "changed" ? "good" : row.state === "refused" ? "warn" : "calm"} word={worded(text.state, row.state)} /></td>
                <td>{tell(row)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p><Button size="small" onClick={take}>{text.save}</Button></p>
    </>
  );
}
