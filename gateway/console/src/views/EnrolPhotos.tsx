// Enrols from photos, one after the other: each is sent, answered with what is wrong with it, and let go of. None is shown.
import { Button } from "antd";
import type { DragEvent, ReactElement } from "react";
import { useRef, useState } from "react";

import { Problem } from "../api";
import { PHOTO_BYTES, PHOTO_KINDS, PHOTOS_MOST, sendPhoto } from "../office";
import { useText, worded } from "../text/language";
import { wordsOf } from "./Dialog";
import type { EnrolProps } from "./EnrolDialog";
import type { HeldWay } from "./Held";
import { Held } from "./Held";
import { Mark } from "./Mark";

interface Sent { name: string; state: "waiting" | "sending" | "taken" | "refused"; words: string }
const WAYS = ["replace", "anew", "add"] as const;
const TONES = { waiting: "calm", sending: "note", taken: "good", refused: "warn" } as const;

export function EnrolPhotos({ gateway, who, why, acting, onEnrolled }: EnrolProps): ReactElement {
  const { enrol: text, failed, unreachable } = useText().faces;
  const picker = useRef<HTMLInputElement>(null);
  const [sent, setSent] = useState<Sent[]>([]);
  const [over, setOver] = useState(false);
  const [way, setWay] = useState<HeldWay>("replace");

  const send = async (files: File[]): Promise<void> => {
    const shown: Sent[] = files.map((file) => ({ name: file.name, state: "waiting", words: "" }));
    const put = (index: number, change: Partial<Sent>): void => {
      setSent((held) => held.map((each, at) => (at === index ? { ...each, ...change } : each)));
    };
    setSent(shown);
    let taken = 0;
    for (const [index, file] of files.entries()) {
      put(index, { state: "sending" });
      try {
        checkPhoto(file);
        const answer = await sendPhoto(gateway, who.id, { file, add: way === "add" || taken > 0, anew: way === "anew" && taken === 0, why });
        taken += 1;
        const similar = answer.similar_to ?? [];
        put(index, { state: "taken", words: similar.length > 0 ? text.similar(similar.join(", ")) : "" });
      } catch (cause) {
        if (cause instanceof Problem && cause.status === 401) throw cause;
        put(index, { state: "refused", words: wordsOf(cause, { reasons: text.reason, failed, unreachable }) });
      }
    }
    if (taken === 0) return;
    if (way === "anew") setWay("replace");
    onEnrolled();
  };
  const begin = (files: FileList | null): void => {
    const chosen = [...(files ?? [])];
    if (chosen.length > PHOTOS_MOST) acting.say(text.tooMany);
    else if (chosen.length > 0 && !acting.busy) void acting.act(() => send(chosen));
  };
  const drop = (event: DragEvent): void => {
    event.preventDefault();
    setOver(false);
    begin(event.dataTransfer.files);
  };
  return (
    <>
      {who.faces.length > 0 && <Held ways={WAYS} value={way} busy={acting.busy} onChange={setWay} />}
      <div className={over ? "drop drop-over" : "drop"} onDragOver={(event) => { event.preventDefault(); setOver(true); }} onDragLeave={() => { setOver(false); }} onDrop={drop}>
        <span>{text.drop}</span>
        <Button type="primary" loading={acting.busy} onClick={() => { picker.current?.click(); }}>{text.choose}</Button>
        <input
          ref={picker} className="unseen" type="file" multiple tabIndex={-1} accept={PHOTO_KINDS.join(",")} aria-label={text.choose}
          onChange={(event) => { begin(event.target.files); event.target.value = ""; }}
        />
        <small className="faint">{text.photoHelp}</small>
      </div>
      <ul className="photos" aria-label={text.list} aria-live="polite">
        {sent.map((each, index) => (
          <li key={`${index} ${each.name}`} data-photo={each.state}>
            <span className="photo-name">{each.name}</span>
            <Mark tone={TONES[each.state]} word={each.state === "refused" ? each.words : worded({ waiting: text.waiting, sending: text.sending, taken: text.taken }, each.state)} />
            {each.state === "taken" && each.words !== "" && <strong>{each.words}</strong>}
          </li>
        ))}
      </ul>
    </>
  );
}

/** Refuse here what the gateway would refuse after all its bytes had travelled. */
function checkPhoto(file: File): void {
  if (!PHOTO_KINDS.includes(file.type)) throw new Problem(422, file.type, { reason: "unreadable" });
  if (file.size > PHOTO_BYTES) throw new Problem(413, file.name, { reason: "too_large" });
}
