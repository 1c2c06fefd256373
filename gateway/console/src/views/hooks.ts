// What the console page keeps running while somebody is logged in: the live feed, the siren, and the page's title.
import { useCallback, useEffect, useMemo, useRef, useState } from "react";

import type { Alert, Gateway, Right, User } from "../api";
import type { Calls, Step } from "../board";
import { isCalling, isWaiting } from "../board";
import type { Source } from "../live";
import { LiveFeed } from "../live";
import type { Armed } from "../sound";
import { rings, Siren, tuneFor } from "../sound";
import { useText } from "../text/language";

export interface Feed { user: User; gateway: Gateway; openSource: () => Source; dispatch: (step: Step) => void; onExpired: () => void }

/** Keep the board live; the answer asks the feed to look now. */
export function useLive({ user, gateway, openSource, dispatch, onExpired }: Feed): () => void {
  const feed = useRef<LiveFeed | null>(null);
  useEffect(() => {
    if (!user.scopes.includes("doors:read")) return; // the feed is for those who see at least doors
    const may = (right: Right): boolean => user.scopes.includes(right);
    const live = new LiveFeed({ gateway, may, openSource, dispatch, onExpired, now: () => Date.now() });
    const nudge = (): void => { if (document.visibilityState === "visible") live.nudge(); };
    feed.current = live;
    live.start();
    addEventListener("online", nudge);
    document.addEventListener("visibilitychange", nudge);
    return () => {
      live.stop();
      removeEventListener("online", nudge);
      document.removeEventListener("visibilitychange", nudge);
    };
  }, [user, gateway, openSource, dispatch, onExpired]);
  return useCallback(() => { feed.current?.nudge(); }, []);
}

/** A browser that allows sound starts it within this; before, nothing can be said. */
const SETTLE_MS = 500;

export interface Sound { armed: Armed | null; ringing: number; arm: () => void; silence: () => void; tryOut: () => void }

/** Sound the alerts that ring. Any click or key arms a blocked siren, since browsers ask for one. */
export function useSound(alerts: ReadonlyMap<string, Alert>, calls: Calls): Sound {
  const siren = useRef<Siren | null>(null);
  const [armed, setArmed] = useState<Armed | null>(null);
  const [silenced, setSilenced] = useState<ReadonlySet<string>>(new Set());
  const tune = useMemo(() => tuneFor(alerts.values(), { calls, silenced }), [alerts, calls, silenced]);
  const loud = useMemo(() => [...alerts.values()].filter((alert) => rings(alert, isCalling(alert, calls))).map(({ id }) => id), [alerts, calls]);
  const ringing = loud.filter((id) => !silenced.has(id)).length;
  const arm = useCallback(() => { void siren.current?.arm(); }, []);

  useEffect(() => {
    const made = new Siren(setArmed);
    const settled = setTimeout(() => { setArmed(made.armed); }, SETTLE_MS);
    siren.current = made;
    addEventListener("pointerdown", arm);
    addEventListener("keydown", arm);
    return () => {
      removeEventListener("pointerdown", arm);
      removeEventListener("keydown", arm);
      clearTimeout(settled);
      made.close();
    };
  }, [arm]);
  useEffect(() => { siren.current?.play(tune); }, [tune]);

  const silence = useCallback(() => { setSilenced(new Set(loud)); }, [loud]);
  const tryOut = useCallback(() => { siren.current?.tryOut(); }, []);
  return { armed, ringing, arm, silence, tryOut };
}

/** Show the number of alerts to acknowledge in the tab's title; return it. */
export function useWaiting(alerts: ReadonlyMap<string, Alert>): number {
  const text = useText();
  const waiting = useMemo(() => [...alerts.values()].filter(isWaiting).length, [alerts]);
  useEffect(() => { document.title = text.pageTitle(waiting); }, [text, waiting]);
  return waiting;
}
