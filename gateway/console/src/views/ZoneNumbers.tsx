// The same corners as numbers, for who types them.
import { DeleteOutlined } from "@ant-design/icons";
import { Button, InputNumber } from "antd";
import type { ReactElement } from "react";

import { useText } from "../text/language";
import type { Corner } from "../zone";
import { CORNERS_LEAST, moved, without } from "../zone";

const PERCENT = 100;
const DIGITS = 10;
const percent = (part: number): number => Math.round(part * PERCENT * DIGITS) / DIGITS;

export function ZoneNumbers({ corners, onChange }: { corners: Corner[]; onChange: (corners: Corner[]) => void }): ReactElement {
  const text = useText().faces.zone;
  const field = (index: number, corner: Corner, axis: "x" | "y"): ReactElement => (
    <InputNumber
      size="small" min={0} max={PERCENT} step={1} value={percent(corner[axis])} aria-label={axis === "x" ? text.across(index + 1) : text.down(index + 1)}
      onChange={(value) => { if (value !== null) onChange(moved(corners, index, { ...corner, [axis]: value / PERCENT })); }}
    />
  );
  return (
    <fieldset className="plain numbers">
      <legend>{text.table}</legend>
      <ol>
        {corners.map((corner, index) => (
          <li key={index}>
            <span>{text.corner(index + 1)}</span>
            {field(index, corner, "x")}
            {field(index, corner, "y")}
            <Button
              size="small" type="text" disabled={corners.length <= CORNERS_LEAST} icon={<DeleteOutlined aria-hidden />} aria-label={text.remove(index + 1)} title={text.remove(index + 1)}
              onClick={() => { onChange(without(corners, index)); }}
            />
          </li>
        ))}
      </ol>
    </fieldset>
  );
}
