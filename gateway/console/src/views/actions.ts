// What a person does to an alert. The page changes when the gateway has confirmed it, never before; a failure is said aloud.
import { App } from "antd";
import { useMemo, useState } from "react";

import type { Alert, Disposition, Gateway } from "../api";
import { Problem } from "../api";
import type { Step } from "../board";
import { useText } from "../text/language";

export interface Actions {
  /** Ids of alerts whose change waits for the gateway's answer. */
  busy: ReadonlySet<string>;
  acknowledge: (alert: Alert) => Promise<boolean>;
  resolve: (alertId: string, disposition: Disposition, note: string) => Promise<boolean>;
}
interface Needs { gateway: Gateway; dispatch: (step: Step) => void; onExpired: () => void; look: () => void }

export function useActions({ gateway, dispatch, onExpired, look }: Needs): Actions {
  const text = useText();
  const { message } = App.useApp();
  const [busy, setBusy] = useState<ReadonlySet<string>>(new Set());
  const acts = useMemo((): Omit<Actions, "busy"> => {
    const tell = (cause: unknown): void => {
      if (cause instanceof Problem && cause.status === 401) {
        onExpired();
        return;
      }
      const reached = cause instanceof Problem && cause.status !== 0;
      void message.error(reached ? text.alerts.failed(cause.message) : text.alerts.unreachable, 8);
      look(); // somebody else may have been faster
    };
    const act = async (alertId: string, ask: () => Promise<Alert>): Promise<boolean> => {
      setBusy((held) => new Set(held).add(alertId));
      try {
        dispatch({ type: "alert", alert: await ask(), raised: false });
        return true;
      } catch (cause) {
        tell(cause);
        return false;
      } finally {
        setBusy((held) => new Set([...held].filter((id) => id !== alertId)));
      }
    };
    return {
      acknowledge: (alert) => act(alert.id, () => gateway.acknowledge(alert.id)),
      resolve: (alertId, disposition, note) => act(alertId, () => gateway.resolve(alertId, disposition, note)),
    };
  }, [dispatch, gateway, look, message, onExpired, text]);
  return { busy, ...acts };
}
