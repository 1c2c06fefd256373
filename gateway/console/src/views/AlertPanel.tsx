// The list of alerts: what is open and live, or everything that ever was, page by page.
import { Alert as Banner, Button, Empty, Segmented, Skeleton } from "antd";
import type { ReactElement } from "react";
import { useCallback, useMemo, useState } from "react";

import type { Alert, Gateway, User } from "../api";
import type { Board, Calls } from "../board";
import { inOrder, isCalling } from "../board";
import type { Catalogue } from "../text/zh";
import { useText, worded } from "../text/language";
import { AlertCard } from "./AlertCard";
import type { Actions } from "./actions";
import { useHistory } from "./history";
import type { Draft } from "./ResolveForm";

export interface AlertPanelProps { user: User; board: Board; calls: Calls; gateway: Gateway; actions: Actions; waiting: number; onResolve: (draft: Draft) => void }
const STEP = 50;

function announcement(text: Catalogue, { newest }: Board, waiting: number): string {
  if (newest === null) return "";
  const words = text.alerts.announce(worded(text.severity, newest.severity), worded(text.kind, newest.kind), newest.place.name);
  return waiting > 1 ? text.alerts.announceMany(waiting, words) : words;
}

export function AlertPanel({ user, board, calls, gateway, actions, waiting, onResolve }: AlertPanelProps): ReactElement {
  const text = useText();
  const [scope, setScope] = useState<"open" | "all">("open");
  const open = useMemo(() => inOrder(board.alerts.values(), calls), [board.alerts, calls]);
  const scopes = [{ value: "open" as const, label: text.alerts.open }, { value: "all" as const, label: text.alerts.all }];
  const list = { calls, actions, mayAct: user.scopes.includes("alerts:act"), mayOpen: user.scopes.includes("doors:unlock"), onResolve };
  if (!user.scopes.includes("alerts:read")) {
    const words = text.alerts.noRight(worded(text.role, user.role));
    return <section className="panel" id="alerts" data-section="alerts"><Empty image={Empty.PRESENTED_IMAGE_SIMPLE} description={words} /></section>;
  }
  return (
    <section className="panel" id="alerts" data-section="alerts" aria-labelledby="alerts-heading" tabIndex={-1}>
      <div className="panel-head">
        <h2 id="alerts-heading">{text.alerts.heading}</h2>
        {waiting > 0 && <strong className="waiting">{text.alerts.waiting(waiting)}</strong>}
        <span className="spring" />
        <Segmented aria-label={text.alerts.filter} options={scopes} value={scope} onChange={setScope} />
      </div>
      <p className="unseen" aria-live="assertive">{announcement(text, board, waiting)}</p>
      {!board.complete && <Banner type="warning" title={text.alerts.incomplete} showIcon />}
      {scope === "all" && <History {...list} board={board} gateway={gateway} />}
      {scope === "open" && board.heardAtMs === null && <Skeleton active />}
      {scope === "open" && board.heardAtMs !== null && <Alerts {...list} alerts={open} empty={text.alerts.none} />}
    </section>
  );
}

interface AlertsProps { alerts: Alert[]; calls: Calls; empty: string; actions: Actions; mayAct: boolean; mayOpen: boolean; onResolve: (draft: Draft) => void }

function Alerts({ alerts, calls, empty, actions, mayAct, mayOpen, onResolve }: AlertsProps): ReactElement {
  const text = useText();
  const [shown, setShown] = useState(STEP);
  const begin = useCallback((alert: Alert) => { onResolve({ alert, disposition: null, note: "" }); }, [onResolve]);
  if (alerts.length === 0) return <Empty image={Empty.PRESENTED_IMAGE_SIMPLE} description={empty} />;
  return (
    <>
      <ul className="alerts">
        {alerts.slice(0, shown).map((alert) => (
          <li key={alert.id}>
            <AlertCard alert={alert} calling={isCalling(alert, calls)} mayAct={mayAct} busy={actions.busy.has(alert.id)} onAcknowledge={actions.acknowledge} onResolve={begin} onAnswer={mayOpen ? actions.answer : undefined} />
          </li>
        ))}
      </ul>
      {alerts.length > shown && <Button block onClick={() => { setShown(shown + STEP); }}>{text.alerts.more}</Button>}
    </>
  );
}

function History({ board, gateway, ...list }: Omit<AlertPanelProps, "waiting" | "user"> & { mayAct: boolean; mayOpen: boolean }): ReactElement {
  const text = useText();
  const { alerts, more, state, loadMore } = useHistory(gateway, board.alerts);
  return (
    <>
      {state.failure !== null && <Banner type="error" title={text.alerts.loadFailed(state.failure)} showIcon />}
      {state.loading && alerts.length === 0 && <Skeleton active />}
      {(alerts.length > 0 || !state.loading) && <Alerts alerts={alerts} empty={text.alerts.noneEver} {...list} />}
      {more && <Button block loading={state.loading} onClick={loadMore}>{text.alerts.more}</Button>}
    </>
  );
}
