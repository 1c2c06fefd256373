// Enrols who stands at a door's camera: starts it, says live what the person should do, shows how far it is, calls it off.
import { Button, Progress, Select } from "antd";
import type { ReactElement } from "react";
import { useCallback, useEffect, useId, useRef, useState } from "react";

import type { Door } from "../api";
import { Problem } from "../api";
import type { Enrolment } from "../office";
import { beginAtDoor, callOff, enrolment } from "../office";
import { useText, worded } from "../text/language";
import { page } from "./Dialog";
import type { EnrolProps } from "./EnrolDialog";
import type { HeldWay } from "./Held";
import { Held } from "./Held";

const PICTURES = 3;
const WAYS = ["replace", "anew"] as const;
const ASK_MS = 500;
const PERCENT = 100;
export interface AtDoorProps extends EnrolProps { doors: Door[]; onRunning: (running: boolean) => void }
const goesOn = (run: Enrolment | null): boolean => run !== null && (run.state === "waiting" || run.state === "running");

export function EnrolAtDoor({ gateway, who, why, acting, doors, onRunning, onEnrolled }: AtDoorProps): ReactElement {
  const text = useText().faces.enrol;
  const id = useId();
  const [doorId, setDoorId] = useState(doors[0]?.id ?? "");
  const [way, setWay] = useState<HeldWay>("replace");
  const [run, setRun] = useState<Enrolment | null>(null);
  const hear = useCallback((news: Enrolment): void => {
    setRun(news);
    if (news.state === "confirmed") setWay("replace");
  }, []);
  const going = goesOn(run);
  const latest = useRef({ onEnrolled, onRunning, why });
  useEffect(() => { latest.current = { onEnrolled, onRunning, why }; });
  useFollowed({ gateway, run: going ? run : null, latest, onNews: hear, act: acting.act });
  useEffect(() => { latest.current.onRunning(going); }, [going]);
  useEffect(() => { if (run?.state === "confirmed" && (run.similar_to ?? null) === null) latest.current.onEnrolled(); }, [run]);
  if (doors.length === 0) return <p className="hint">{text.noDoor}</p>;
  const begin = (): void => {
    void acting.act(async () => {
      setRun(await beginAtDoor(gateway, who.id, { doorId, pictures: PICTURES, anew: way === "anew", why }));
    });
  };
  const stop = (): void => { void acting.act(async () => { if (run !== null) setRun(await stopped(run, () => callOff(gateway, run.id, why))); }); };
  return (
    <>
      {who.faces.length > 0 && <Held ways={WAYS} value={way} busy={going} onChange={setWay} />}
      <div className="at-door">
        <label htmlFor={id}>{text.door}</label>
        <Select
          id={id} value={doorId} disabled={going} onChange={setDoorId} getPopupContainer={page}
          options={doors.map((door) => ({ value: door.id, label: door.name }))}
        />
        {going ? <Button danger onClick={stop}>{text.stop}</Button> : <Button type="primary" loading={acting.busy} onClick={begin}>{run === null ? text.begin : text.again}</Button>}
      </div>
      <p className="hint">{text.privacy}</p>
      {run !== null && <Standing run={run} />}
    </>
  );
}

async function stopped(run: Enrolment, work: () => Promise<void>): Promise<Enrolment> {
  await work();
  return { ...run, state: "cancelled", hint: "" };
}

function Standing({ run }: { run: Enrolment }): ReactElement {
  const text = useText().faces.enrol;
  const going = goesOn(run);
  const words = going && run.state === "running" ? worded(text.hint, run.hint) : worded(text.state, run.state);
  const ended = going || run.state === "confirmed" || run.state === "cancelled" || run.reason === null ? "" : worded(text.reason, run.reason);
  return (
    <div className="standing" data-enrolment={run.state}>
      <p className="standing-hint" role="status">{words}{ended !== "" && ended !== words ? ` · ${ended}` : ""}</p>
      <Progress
        aria-label={text.progress(run.done, run.wanted)} percent={Math.round((PERCENT * run.done) / Math.max(1, run.wanted))} steps={run.wanted} showInfo={false}
        status={run.state === "confirmed" ? "success" : "normal"}
      />
      <p>{text.progress(run.done, run.wanted)}</p>
      {run.similar_to != null && <p role="alert"><strong>{text.similar(run.similar_to)}</strong></p>}
    </div>
  );
}

interface Followed {
  gateway: EnrolProps["gateway"]; run: Enrolment | null; latest: { current: { why: string } }; onNews: (run: Enrolment) => void; act: EnrolProps["acting"]["act"];
}

/** Ask how an enrolment is until it ends; leaving the page or the dialog calls it off, so that no camera goes on looking. */
function useFollowed({ gateway, run, latest, onNews, act }: Followed): void {
  const following = run?.id ?? null;
  useEffect(() => {
    if (following === null) return;
    const around = latest;
    let over = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = async (): Promise<void> => {
      try {
        const news = await enrolment(gateway, following, around.current.why);
        if (over) return;
        over = !goesOn(news);
        onNews(news);
      } catch (cause) {
        if (!(cause instanceof Problem) || cause.status !== 0) {
          over = true;
          await act(() => Promise.reject(cause instanceof Error ? cause : new Error(String(cause))));
        }
      }
      if (!over) timer = setTimeout(() => { void ask(); }, ASK_MS);
    };
    timer = setTimeout(() => { void ask(); }, ASK_MS);
    return () => {
      clearTimeout(timer);
      if (!over) void callOff(gateway, following, around.current.why).catch(() => undefined);
      over = true;
    };
  }, [act, following, gateway, latest, onNews]);
}
