// What a person does to an alert. The page changes when the gateway has confirmed it, never before; a failure is said aloud.
import { App } from "antd";
import { useMemo, useState } from "react";

import type { Alert, Disposition, Gateway } from "../api";
import { Problem } from "../api";
import type { Step } from "../board";
import { isWaiting } from "../board";
import { refuseCall, unlock } from "../doors";
import { useText } from "../text/language";

export interface Actions {
  /** Ids of alerts whose change waits for the gateway's answer. */
  busy: ReadonlySet<string>;
  acknowledge: (alert: Alert) => Promise<boolean>;
  resolve: (alertId: string, disposition: Disposition, note: string) => Promise<boolean>;
  /** Open to who rings, or send them away; either answers the call, and so acknowledges its alert. */
  answer: (alert: Alert, way: "open" | "refuse", reason: string) => Promise<boolean>;
}
const CONFLICT = 409;
const SAID_S = 8;

/** Return the alert of a call that was answered; somebody else may have acknowledged it first. */
async function acknowledged(gateway: Gateway, alert: Alert, reason: string): Promise<Alert> {
  if (!isWaiting(alert)) return gateway.alert(alert.id);
  try {
    return await gateway.acknowledge(alert.id, reason);
  } catch (cause) {
    if (cause instanceof Problem && cause.status === CONFLICT) return gateway.alert(alert.id);
    throw cause;
  }
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
      void message.error(reached ? text.alerts.failed(cause.message) : text.alerts.unreachable, SAID_S);
      look(); // somebody else may have been faster
    };
    const act = async (alertId: string, ask: () => Promise<Alert | null>): Promise<boolean> => {
      setBusy((held) => new Set(held).add(alertId));
      try {
        const alert = await ask();
        if (alert !== null) dispatch({ type: "alert", alert, raised: false });
        return true;
      } catch (cause) {
        tell(cause);
        return false;
      } finally {
        setBusy((held) => new Set([...held].filter((id) => id !== alertId)));
      }
    };
    // The door has done it: whatever fails from here on must not read as if it had not, or it is opened again.
    const marked = async (alert: Alert, reason: string): Promise<Alert | null> => {
      try {
        return await acknowledged(gateway, alert, reason);
      } catch (cause) {
        if (cause instanceof Problem && cause.status === 401) throw cause;
        void message.warning(text.atDoors.call.unmarked, SAID_S);
        look();
        return null;
      }
    };
    const answer = (alert: Alert, way: "open" | "refuse", reason: string): Promise<boolean> => act(alert.id, async () => {
      const { door_id, name } = alert.place;
      try {
        await (way === "open" ? unlock : refuseCall)(gateway, door_id ?? "", reason);
      } catch (cause) {
        if (way === "open" || !(cause instanceof Problem) || cause.status !== CONFLICT) throw cause;
        void message.warning(text.atDoors.call.over, SAID_S);
        return gateway.alert(alert.id);
      }
      void message.success(way === "open" ? text.atDoors.call.opened(name) : text.atDoors.call.sentAway(name));
      return marked(alert, reason);
    });
    return {
      answer,
      acknowledge: (alert) => act(alert.id, () => gateway.acknowledge(alert.id)),
      resolve: (alertId, disposition, note) => act(alertId, () => gateway.resolve(alertId, disposition, note)),
    };
  }, [dispatch, gateway, look, message, onExpired, text]);
  return { busy, ...acts };
}
