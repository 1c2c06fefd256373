// Whether every camera gives pictures; those that do not come first.
import { Empty, Skeleton, Tag } from "antd";
import type { ReactElement } from "react";
import { useMemo } from "react";

import type { Camera } from "../api";
import { useText, worded } from "../text/language";

const COLOURS: Record<string, string> = { live: "green", starting: "blue", lost: "red", refused: "volcano" };

export function CameraPanel({ cameras, known }: { cameras: ReadonlyMap<string, Camera>; known: boolean }): ReactElement {
  const text = useText().cameras;
  const ordered = useMemo(
    () => [...cameras.values()].sort((one, other) => Number(one.state === "live") - Number(other.state === "live") || one.name.localeCompare(other.name, "zh-CN")),
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
      <ul className="places">
        {ordered.map((camera) => (
          <li key={camera.id} className="place" data-camera={camera.id}>
            <div className="place-name"><strong>{camera.name}</strong></div>
            <div className="place-state"><Tag color={COLOURS[camera.state] ?? "default"}>{worded(text.state, camera.state)}</Tag></div>
          </li>
        ))}
      </ul>
    </section>
  );
}
