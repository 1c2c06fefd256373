import { describe, expect, it } from "vitest";

import { cornersOf, CORNERS_MOST, faultOf, middleOf, moved, split, without, zoneOf } from "./zone";

const TRIANGLE = [0.1, 0.1, 0.9, 0.1, 0.5, 0.8];

describe("a near zone", () => {
  it.each([[[0, 0, 1, 1]], [[0.1, 0.2, 0.3, 0.4]], [TRIANGLE], [[0, 0, 0.5, 0.1, 1, 0, 1, 1, 0, 1]]])("comes back as it was stored: %s", (zone) => {
    expect(zoneOf(cornersOf(zone))).toEqual(zone);
    expect(faultOf(cornersOf(zone))).toBeNull();
  });

  it("is four numbers only while it is an upright rectangle", () => {
    expect(zoneOf(moved(cornersOf([0, 0, 1, 1]), 2, { x: 0.9, y: 1 }))).toHaveLength(8);
  });

  it("stays in the picture when a corner is dragged out of it", () => {
    expect(moved(cornersOf(TRIANGLE), 0, { x: -3, y: 1.23456 })[0]).toEqual({ x: 0, y: 1 });
  });

  it("gains a corner in the middle of a side, the last one too, and loses one down to three", () => {
    const corners = cornersOf(TRIANGLE);
    expect(split(corners, 2)[3]).toEqual(middleOf(corners, 2));
    expect(split(corners, 0).map(({ x }) => x)).toEqual([0.1, 0.5, 0.9, 0.5]);
    expect(without(split(corners, 0), 1)).toEqual(corners);
    expect(without(corners, 0)).toEqual(corners);
  });

  it("is told what is wrong with it", () => {
    const bow = [{ x: 0, y: 0 }, { x: 1, y: 1 }, { x: 1, y: 0 }, { x: 0, y: 1 }];
    expect(faultOf(bow)).toBe("crossing");
    expect(zoneOf(bow)).toHaveLength(8);
    expect(faultOf(cornersOf([0.1, 0.1, 0.2, 0.2, 0.3, 0.3]))).toBe("empty");
    expect(faultOf([{ x: 0, y: 0 }, { x: 1, y: 1 }])).toBe("few");
    const circle = Array.from({ length: CORNERS_MOST + 1 }, (_, n) => ({ x: 0.5 + 0.4 * Math.cos((n * 2 * Math.PI) / 17), y: 0.5 + 0.4 * Math.sin((n * 2 * Math.PI) / 17) }));
    expect(faultOf(circle)).toBe("many");
    expect(faultOf(circle.slice(1))).toBeNull();
  });
});
