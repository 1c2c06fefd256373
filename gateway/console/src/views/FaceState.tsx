// How a door uses faces now: alone, with card or PIN, or not; on demand for how many people, at which radius, and what is lacking.
import type { ReactElement } from "react";

import type { Door } from "../api";
import { useText, worded } from "../text/language";
import type { Tone } from "./Mark";
import { Mark } from "./Mark";

type Use = "alone" | "with" | "off";
const TONES: Record<Use, Tone> = { alone: "good", with: "note", off: "calm" };
const DIGITS = 2;

/** A face goes with a card or PIN only where the door names that way. */
function wayOf({ factors, face }: Door): Use {
  if (face?.use.alone === true) return "alone";
  const joined = factors?.some((factor) => factor === "face+card" || factor === "face+pin") ?? false;
  return joined && (face?.use.verify_radius ?? 0) > 0 ? "with" : "off";
}

export function FaceState({ door }: { door: Door }): ReactElement | null {
  const text = useText().faces.door;
  if (door.face == null) return null;
  const { use, provider } = door.face;
  const how = wayOf(door);
  const short = use.why_not.some((why) => why === "no_evidence" || why === "too_little_evidence");
  return (
    <details className="face-use">
      <summary>
        <Mark tone={TONES[how]} word={worded(text.use, how)} /> <span className="faint">{text.people(use.people)}</span>
        <span className="unseen">{text.more(door.name)}</span>
      </summary>
      <ul>
        {use.why_not.map((why) => <li key={why}>{worded(text.whyNot, why)}</li>)}
        {short && use.needed_pairs > 0 && <li>{text.needed(use.needed_pairs)}</li>}
        {use.radius > 0 && <li>{text.radius(use.radius.toFixed(DIGITS))}</li>}
        {how === "with" && <li>{text.verifyRadius(use.verify_radius.toFixed(DIGITS))}</li>}
        <li>{text.liveness(worded(text.provider, provider))}</li>
      </ul>
    </details>
  );
}
