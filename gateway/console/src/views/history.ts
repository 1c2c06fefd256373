// Every alert that ever was, newest first: loaded page by page, its first page again whenever an open alert changes.
import { useCallback, useEffect, useMemo, useRef, useState } from "react";

import type { Alert, Gateway } from "../api";

const SETTLE_MS = 500;

export interface History {
  alerts: Alert[]; more: boolean; state: { loading: boolean; failure: string | null }; loadMore: () => void;
}
const words = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));

export function useHistory(gateway: Gateway, live: ReadonlyMap<string, Alert>): History {
  const [held, setHeld] = useState<ReadonlyMap<string, Alert>>(new Map());
  const [state, setState] = useState<History["state"]>({ loading: true, failure: null });
  const [cursor, setCursor] = useState<string | null>(null);
  const started = useRef(false);

  const load = useCallback(async (from: string | null, moves: boolean) => {
    try {
      const page = await gateway.alerts("all", from);
      setHeld((before) => new Map([...before, ...page.items.map((alert) => [alert.id, alert] as const)]));
      if (moves) setCursor(page.next ?? null);
      setState({ loading: false, failure: null });
    } catch (cause) {
      setState({ loading: false, failure: words(cause) });
    }
  }, [gateway]);

  useEffect(() => {
    const timer = setTimeout(() => {
      const first = !started.current;
      started.current = true;
      void load(null, first);
    }, started.current ? SETTLE_MS : 0);
    return () => { clearTimeout(timer); };
  }, [live, load]);

  const loadMore = useCallback(() => {
    setState({ loading: true, failure: null });
    void load(cursor, true);
  }, [cursor, load]);
  const alerts = useMemo(
    () => [...held.values()].map((alert) => live.get(alert.id) ?? alert).sort((one, other) => Date.parse(other.raised_at) - Date.parse(one.raised_at)),
    [held, live],
  );
  return { alerts, more: cursor !== null, state, loadMore };
}
