// Whether every camera gives pictures; those that do not come first.
import { Button, Empty, Skeleton } from "antd";
import type { ReactElement } from "react";
import { useMemo } from "react";

import type { Camera } from "../api";
import { byName } from "../board";
import { useText, worded } from "../text/language";
import type { Tone } from "./Mark";
import { Mark } from "./Mark";

const TONES: Record<string, Tone> = { live: "good", starting: "note", lost: "danger", refused: "danger" };

/** What is wrong with the picture of a camera, in the gateway's stable words. */
const wrongWith = (camera: Camera, words: Record<string, string>): string[] =>
  (camera.detail ?? "").split(", ").filter((word) => Object.hasOwn(words, word));

export interface CameraPanelProps { cameras: ReadonlyMap<string, Camera>; known: boolean; onZone?: ((camera: Camera) => void) | undefined }

export function CameraPanel({ cameras, known, onZone }: CameraPanelProps): ReactElement {
  const { cameras: text, faces: { zone }, atDoors } = useText();
  const ordered = useMemo(
    () => {
      const good = (camera: Camera): number => Number(camera.state === "live" && wrongWith(camera, text.trouble).length === 0);
      return [...cameras.values()].sort((one, other) => good(one) - good(other) || byName(one, other));
    },
    [cameras, text],
  );
  const live = ordered.filter((camera) => camera.state === "live").length;
  return (
    <section className="panel" data-section="cameras" aria-labelledby="cameras-heading">
      <div className="panel-head">
        <h2 id="cameras-heading">{text.heading}</h2>
        {known && cameras.size > 0 && <span className="faint">{text.summary(live, cameras.size)}</span>}
      </div>
      {!known && <Skeleton active paragraph={{ rows: 1 }} />}
      {known && cameras.size === 0 && <Empty image={Empty.PRESENTED_IMAGE_SIMPLE} description={text.none} />}
      <ul className="places" aria-labelledby="cameras-heading" tabIndex={0}>
        {ordered.map((camera) => {
          const wrong = wrongWith(camera, text.trouble);
          const away = camera.trouble ?? "";
          return (
            <li key={camera.id} className="place" data-camera={camera.id}>
              <div className="place-name"><strong>{camera.name}</strong></div>
              <div className="place-state" title={camera.detail}>
                {onZone !== undefined && camera.door_id != null && (
                  <Button size="small" aria-label={zone.openOf(camera.name)} onClick={() => { onZone(camera); }}>{zone.open}</Button>
                )}
                {wrong.map((word) => <Mark key={word} tone="danger" word={worded(text.trouble, word)} />)}
                <Mark tone={wrong.length > 0 && camera.state === "live" ? "calm" : TONES[camera.state] ?? "calm"} word={worded(text.state, camera.state)} />
              </div>
              {camera.registered === false && <p className="place-trouble">{text.unregistered}</p>}
              {away !== "" && (wrong.length === 0 || away !== camera.detail) && <p className="place-trouble">{worded(atDoors.trouble, away)}</p>}
            </li>
          );
        })}
      </ul>
    </section>
  );
}
