// The two things that must never be quiet: the browser keeps the sound off, or what is shown is old.
import { SoundOutlined } from "@ant-design/icons";
import { Alert as Banner, Button } from "antd";
import type { ReactElement } from "react";

import type { Link } from "../board";
import { siteTime, useText } from "../text/language";
import type { Sound } from "./hooks";

export function SoundBanner({ sound }: { sound: Sound }): ReactElement | null {
  const text = useText().sound;
  if (sound.armed === "armed" || sound.armed === null) return null;
  if (sound.armed === "unsupported") return <Banner banner role="alert" type="error" title={text.unsupported} />;
  const button = <Button type="primary" danger size="large" icon={<SoundOutlined aria-hidden />} onClick={sound.arm}>{text.arm}</Button>;
  return (
    <Banner
      banner className="sound-blocked" role="alert" type="error" title={<strong>{text.blockedTitle}</strong>}
      description={sound.ringing > 0 ? text.mute(sound.ringing) : text.blockedDetail} action={button}
    />
  );
}

export function LinkBanner({ link, heardAtMs }: { link: Link; heardAtMs: number | null }): ReactElement | null {
  const text = useText().link;
  if (link !== "lost") return null;
  const heard = heardAtMs === null ? text.lostNever : text.lostDetail(siteTime(new Date(heardAtMs).toISOString(), { now: heardAtMs }));
  return <Banner banner role="alert" type="warning" title={<strong>{text.lostTitle}</strong>} description={heard} />;
}
