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

export interface CameraPanelProps { cameras: ReadonlyMap<string, Camera>; known: boolean; onZone?: ((camera: Camera) => void) | undefined }

export function CameraPanel({ cameras, known, onZone }: CameraPanelProps): ReactElement {
  const { cameras: text, faces: { zone }, atDoors } = useText();
  const ordered = useMemo(
    () => [...cameras.values()].sort((one, other) => Number(one.state === "live") - Number(other.state === "live") || byName(one, other)),
    [cameras],
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
        {ordered.map((camera) => (
          <li key={camera.id} className="place" data-camera={camera.id}>
            <div className="place-name"><strong>{camera.name}</strong></div>
            <div className="place-state" title={camera.detail}>
              {onZone !== undefined && camera.door_id != null && (
                <Button size="small" aria-label={zone.openOf(camera.name)} onClick={() => { onZone(camera); }}>{zone.open}</Button>
              )}
              <Mark tone={TONES[camera.state] ?? "calm"} word={worded(text.state, camera.state)} />
            </div>
            {camera.trouble != null && camera.trouble !== "" && <p className="place-trouble">{worded(atDoors.trouble, camera.trouble)}</p>}
          </li>
        ))}
      </ul>
    </section>
  );
}
