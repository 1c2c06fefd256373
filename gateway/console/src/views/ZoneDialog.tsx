// Draws the near zone of a camera on a picture in which nobody can be recognised, and saves it unless somebody was faster.
import { Alert as Banner, App, Button, Skeleton } from "antd";
import type { ReactElement } from "react";
import { useCallback, useEffect, useState } from "react";

import type { Camera, Gateway } from "../api";
import type { CameraSettings, Still } from "../office";
import { askForStill, cameraSettings, pictureOf, saveZone, still } from "../office";
import { useText, worded } from "../text/language";
import type { Corner } from "../zone";
import { cornersOf, faultOf, zoneOf } from "../zone";
import { Frame, useActing, Why } from "./Dialog";
import type { DialogProps } from "./Office";
import { ZoneBoard } from "./ZoneBoard";
import { ZoneNumbers } from "./ZoneNumbers";

const WIDTH_PX = 900;
const ASK_MS = 500;
/** The gateway takes no shorter reason. */
const WHY_LEAST = 2;
const WHOLE = [0, 0, 1, 1];

export function ZoneDialog({ gateway, camera, onExpired, onClose }: DialogProps & { camera: Camera }): ReactElement {
  const text = useText().faces.zone;
  const { message } = App.useApp();
  const { busy, failure, act } = useActing(onExpired, text.reason);
  const [settings, setSettings] = useState<CameraSettings | null>(null);
  const [corners, setCorners] = useState<Corner[]>([]);
  const [picture, setPicture] = useState<Still | null>(null);
  const [shown, setShown] = useState<string | null>(null);
  const [why, setWhy] = useState("");
  const load = useCallback(() => act(async () => {
    const found = await cameraSettings(gateway, camera.id);
    setSettings(found);
    setCorners(cornersOf(found.near_zone));
  }), [act, camera.id, gateway]);
  useEffect(() => { void load(); }, [load]);
  useEffect(() => () => { if (shown !== null) URL.revokeObjectURL(shown); }, [shown]);
  const fault = faultOf(corners);
  const unsaid = why.trim().length < WHY_LEAST;
  const take = (): void => {
    void act(async () => {
      const found = await taken(gateway, camera.id, why.trim());
      setPicture(found);
      setShown(found.state === "ready" ? URL.createObjectURL(await pictureOf(gateway, found, why.trim())) : null);
    });
  };
  const save = (): void => {
    void act(async () => {
      if (settings === null) return;
      const kept = await saveZone(gateway, settings, { zone: zoneOf(corners), why });
      setSettings(kept);
      setCorners(cornersOf(kept.near_zone));
      void message.success(text.saved);
    });
  };
  const saving = (
    <Button key="save" type="primary" loading={busy} disabled={settings === null || settings.seeded || fault !== null} onClick={save}>{text.save}</Button>
  );
  return (
    <Frame title={text.title(camera.name)} width={WIDTH_PX} onClose={onClose} failure={failure} footer={saving}>
      <p className="hint">{text.help}</p>
      <Why value={why} onChange={setWhy} />
      {settings === null && failure === null && <Skeleton active />}
      {settings !== null && (
        <>
          <p className="at-door">
            <Button loading={busy} disabled={settings.register === null || unsaid} onClick={take}>{busy ? text.taking : text.take}</Button>
            <Button onClick={() => { setCorners(cornersOf(WHOLE)); }}>{text.whole}</Button>
            {settings.register === null && <span>{text.off}</span>}
            {settings.register !== null && unsaid && <span>{text.sayWhy}</span>}
          </p>
          {picture?.state === "failed" && <Banner type="warning" role="alert" showIcon title={picture.detail !== "" && !Object.hasOwn(text.reason, picture.reason) ? picture.detail : worded(text.reason, picture.reason)} />}
          <ZoneBoard corners={corners} onChange={setCorners} picture={shown} camera={camera.name} />
          <p className="fault" role="status">{fault !== null && worded(text.fault, fault)}</p>
          <ZoneNumbers corners={corners} onChange={setCorners} />
          {settings.seeded && <p>{text.seeded} <code>{`near_zone: [${zoneOf(corners).join(", ")}]`}</code></p>}
        </>
      )}
    </Frame>
  );
}

/** Ask for a picture until it is there or is known not to come; the gateway ends the wait after a quarter of a minute. */
async function taken(gateway: Gateway, cameraId: string, why: string): Promise<Still> {
  let asked = await askForStill(gateway, cameraId, why);
  while (asked.state === "waiting") {
    await new Promise((resolve) => { setTimeout(resolve, ASK_MS); });
    asked = await still(gateway, asked);
  }
  return asked;
}
