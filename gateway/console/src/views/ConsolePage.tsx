// The one page of a person on duty: alerts, doors and cameras side by side, or one at a time on a phone.
import { Badge, Empty, Segmented } from "antd";
import type { ReactElement } from "react";
import { useMemo, useState } from "react";

import type { Appearance } from "../App";
import type { Board } from "../board";
import { callsByDoor } from "../board";
import { useText, worded } from "../text/language";
import { AlertPanel } from "./AlertPanel";
import { CameraPanel } from "./CameraPanel";
import { Now, useClock } from "./clock";
import { DoorPanel } from "./DoorPanel";
import type { HeaderProps } from "./Header";
import { Header } from "./Header";
import type { Feed } from "./hooks";
import { useLive, useSound, useWaiting } from "./hooks";
import { useOffice } from "./Office";
import type { Draft } from "./ResolveForm";
import { ResolveForm } from "./ResolveForm";
import { LinkBanner, SoundBanner } from "./Banners";
import { useActions } from "./actions";

export interface ConsoleProps extends Feed {
  board: Board; draft: Draft | null; setDraft: (draft: Draft | null) => void; onLeft: () => void; appearance: Appearance;
}
const SECTIONS = ["alerts", "doors", "cameras"] as const;
type Section = (typeof SECTIONS)[number];

export function ConsolePage(props: ConsoleProps): ReactElement {
  const { user, board, draft, setDraft, onLeft, appearance, gateway, dispatch, onExpired } = props;
  const text = useText();
  const look = useLive(props);
  const now = useClock();
  const calls = useMemo(() => callsByDoor({ alerts: board.alerts, doors: board.doors }, now), [board.alerts, board.doors, now]);
  const sound = useSound(board.alerts, calls);
  const waiting = useWaiting(board.alerts);
  const actions = useActions({ gateway, dispatch, onExpired, look });
  const office = useOffice({ user, gateway, doors: board.doors, onExpired });
  const [section, setSection] = useState<Section>("alerts");
  const stale = board.link === "lost" || board.heardAtMs === null;
  const tabs = SECTIONS.map((value) => ({
    value,
    label: <Badge count={value === "alerts" ? waiting : 0} size="small" offset={[10, 0]}>{text.tab[value]}</Badge>,
  }));
  if (!user.scopes.includes("doors:read")) return <Nothing {...{ user, gateway, onLeft, appearance, sound }} />;
  return (
    <div className="console">
      <a className="skip" href="#alerts">{text.header.skip}</a>
      <Header {...{ user, gateway, onLeft, appearance, sound }} link={board.link} />
      <SoundBanner sound={sound} />
      <LinkBanner link={board.link} heardAtMs={board.heardAtMs} />
      <nav className="tabs"><Segmented block size="large" options={tabs} value={section} onChange={setSection} /></nav>
      <Now value={now}>
        <main className={stale ? "sections stale" : "sections"} data-shown={section}>
          <AlertPanel {...{ user, board, calls, gateway, actions, waiting }} onResolve={setDraft} />
          <div className="aside">
            <DoorPanel doors={board.doors} calls={calls} known={board.heardAtMs !== null} tools={office.tools} {...office.atDoor} />
            <CameraPanel cameras={board.cameras} known={board.heardAtMs !== null} onZone={office.onZone} />
          </div>
        </main>
      </Now>
      <ResolveForm draft={draft} setDraft={setDraft} actions={actions} />
      {office.dialog}
    </div>
  );
}

/** For a role that has nothing to see here, such as the administrators of users and audit. */
function Nothing(props: Omit<HeaderProps, "link">): ReactElement {
  const text = useText();
  return (
    <div className="console">
      <Header {...props} link={null} />
      <main className="nothing"><Empty image={Empty.PRESENTED_IMAGE_SIMPLE} description={text.alerts.noRight(worded(text.role, props.user.role))} /></main>
    </div>
  );
}
