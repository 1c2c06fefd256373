// The picture with the zone on it: corners are buttons that the mouse drags and the arrow keys move, sides have one to split them.
import type { KeyboardEvent, PointerEvent, ReactElement } from "react";
import { useRef } from "react";

import { useText } from "../text/language";
import type { Corner } from "../zone";
import { CORNERS_MOST, middleOf, moved, split, without } from "../zone";

export interface BoardProps { corners: Corner[]; onChange: (corners: Corner[]) => void; picture: string | null; camera: string }
const STEP = 0.005;
const LONG_STEP = 0.05;
const PERCENT = 100;
const KEYS: Record<string, Corner> = { ArrowLeft: { x: -1, y: 0 }, ArrowRight: { x: 1, y: 0 }, ArrowUp: { x: 0, y: -1 }, ArrowDown: { x: 0, y: 1 } };

const percent = (part: number): string => (part * PERCENT).toFixed(1);
const placed = ({ x, y }: Corner): { left: string; top: string } => ({ left: `${x * PERCENT}%`, top: `${y * PERCENT}%` });

export function ZoneBoard({ corners, onChange, picture, camera }: BoardProps): ReactElement {
  const text = useText().faces.zone;
  const board = useRef<HTMLDivElement>(null);
  const drag = (event: PointerEvent, index: number): void => {
    const area = board.current?.getBoundingClientRect();
    if (area === undefined || area.width === 0 || !event.currentTarget.hasPointerCapture(event.pointerId)) return;
    onChange(moved(corners, index, { x: (event.clientX - area.left) / area.width, y: (event.clientY - area.top) / area.height }));
  };
  const press = (event: KeyboardEvent, index: number): void => {
    const way = KEYS[event.key];
    const corner = corners[index];
    if (event.key === "Delete" || event.key === "Backspace") onChange(without(corners, index));
    if (way === undefined || corner === undefined) return;
    event.preventDefault();
    const step = event.shiftKey ? LONG_STEP : STEP;
    onChange(moved(corners, index, { x: corner.x + way.x * step, y: corner.y + way.y * step }));
  };
  return (
    <div ref={board} className="board" role="group" aria-label={text.board} data-picture={picture === null ? "none" : "shown"}>
      {picture === null ? <p className="board-none">{text.none}</p> : <img src={picture} alt={text.alt(camera)} draggable={false} />}
      <svg viewBox="0 0 1 1" preserveAspectRatio="none" aria-hidden="true">
        <polygon points={corners.map(({ x, y }) => `${x},${y}`).join(" ")} vectorEffect="non-scaling-stroke" />
      </svg>
      {corners.length < CORNERS_MOST && corners.map((_, index) => (
        <button
          key={`side ${index}`} type="button" className="side" style={placed(middleOf(corners, index))} aria-label={text.split(index + 1)} title={text.split(index + 1)}
          onClick={() => { onChange(split(corners, index)); }}
        />
      ))}
      {corners.map((corner, index) => (
        <button
          key={`corner ${index}`} type="button" className="corner" style={placed(corner)} aria-label={text.cornerAt(index + 1, percent(corner.x), percent(corner.y))}
          onPointerDown={(event) => { event.currentTarget.setPointerCapture(event.pointerId); }} onPointerMove={(event) => { drag(event, index); }}
          onKeyDown={(event) => { press(event, index); }}
        >
          {index + 1}
        </button>
      ))}
    </div>
  );
}
