// The top line: how fresh the page is, what rings and how to silence it, who is logged in.
import { LogoutOutlined, MutedOutlined, SoundOutlined } from "@ant-design/icons";
import { App, Badge, Button } from "antd";
import type { ReactElement } from "react";

import type { Appearance } from "../App";
import type { Gateway, User } from "../api";
import { Problem } from "../api";
import type { Link } from "../board";
import { useText, worded } from "../text/language";
import type { Sound } from "./hooks";
import { Preferences } from "./Preferences";

export interface HeaderProps { user: User; gateway: Gateway; link: Link | null; sound: Sound; onLeft: () => void; appearance: Appearance }
const DOT = { connecting: "processing", live: "success", lost: "error" } as const;

export function Header({ user, gateway, link, sound, onLeft, appearance }: HeaderProps): ReactElement {
  const text = useText();
  const { message } = App.useApp();
  const leave = (): void => {
    gateway.logOut().then(onLeft, (cause: unknown) => {
      if (cause instanceof Problem && cause.status === 401) onLeft();
      else void message.error(text.alerts.failed(cause instanceof Error ? cause.message : String(cause)));
    });
  };
  return (
    <header className="top">
      <h1><img src="/favicon.svg" alt="" width={24} height={24} /> <span>{text.product}</span></h1>
      {link !== null && <span className="link" role="status"><Badge status={DOT[link]} text={text.link[link]} /></span>}
      {link !== null && <SoundControl sound={sound} />}
      <span className="spring" />
      <span className="tools">
        <Preferences appearance={appearance} />
        <span className="user" title={text.header.roleOf(user.username)}>
          {user.username} <small>{worded(text.role, user.role)}</small>
        </span>
        <Button icon={<LogoutOutlined aria-hidden />} onClick={leave} aria-label={text.header.logout} title={text.header.logout} />
      </span>
    </header>
  );
}

function SoundControl({ sound }: { sound: Sound }): ReactElement | null {
  const text = useText().sound;
  if (sound.armed !== "armed") return null;
  if (sound.ringing > 0) {
    return (
      <span className="ringing">
        <span className="ringing-count">{text.ringing(sound.ringing)}</span>
        <Button danger type="primary" icon={<MutedOutlined aria-hidden />} onClick={sound.silence}>{text.silence}</Button>
      </span>
    );
  }
  return (
    <span className="armed">
      <Badge status="success" text={text.armed} />
      <Button type="text" icon={<SoundOutlined aria-hidden />} onClick={sound.tryOut} aria-label={text.test} title={text.test} />
    </span>
  );
}
