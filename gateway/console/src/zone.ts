// Near zones as they are drawn: corners in parts of the picture. Pure; the rules are those of models/zones.py.
export interface Corner { readonly x: number; readonly y: number }
export type Fault = "few" | "many" | "crossing" | "empty";

export const CORNERS_LEAST = 3;
export const CORNERS_MOST = 16;
const AREA_LEAST = 1e-4;
const DIGITS = 1_000;

const round = (part: number): number => Math.round(Math.min(1, Math.max(0, part)) * DIGITS) / DIGITS;
const at = (corners: readonly Corner[], index: number): Corner => corners[(index + corners.length) % corners.length] ?? { x: 0, y: 0 };

/** Return the corners of a stored zone: four numbers are left, top, right, bottom; more are x, y of each corner. */
export function cornersOf(zone: readonly number[]): Corner[] {
  const [left = 0, top = 0, right = 1, bottom = 1] = zone;
  if (zone.length === 4) return [{ x: left, y: top }, { x: right, y: top }, { x: right, y: bottom }, { x: left, y: bottom }];
  return Array.from({ length: zone.length / 2 }, (_, index) => ({ x: zone[2 * index] ?? 0, y: zone[2 * index + 1] ?? 0 }));
}

/** Return how corners are stored: an upright rectangle as four numbers. */
export function zoneOf(corners: readonly Corner[]): number[] {
  const across = [...new Set(corners.map((corner) => corner.x))].sort((one, other) => one - other);
  const down = [...new Set(corners.map((corner) => corner.y))].sort((one, other) => one - other);
  const [left, right] = across;
  const [top, bottom] = down;
  const upright = corners.length === 4 && across.length === 2 && down.length === 2 && faultOf(corners) === null;
  if (upright && left !== undefined && right !== undefined && top !== undefined && bottom !== undefined) return [left, top, right, bottom];
  return corners.flatMap((corner) => [corner.x, corner.y]);
}

export function moved(corners: readonly Corner[], index: number, to: Corner): Corner[] {
  return corners.map((corner, each) => (each === index ? { x: round(to.x), y: round(to.y) } : corner));
}

/** Put a corner in the middle of the side that begins at `index`. */
export function split(corners: readonly Corner[], index: number): Corner[] {
  const middle = middleOf(corners, index);
  return [...corners.slice(0, index + 1), middle, ...corners.slice(index + 1)];
}

export function middleOf(corners: readonly Corner[], index: number): Corner {
  const [one, other] = [at(corners, index), at(corners, index + 1)];
  return { x: round((one.x + other.x) / 2), y: round((one.y + other.y) / 2) };
}

export function without(corners: readonly Corner[], index: number): Corner[] {
  return corners.length > CORNERS_LEAST ? corners.filter((_, each) => each !== index) : [...corners];
}

const turn = (one: Corner, two: Corner, three: Corner): number => (two.x - one.x) * (three.y - one.y) - (two.y - one.y) * (three.x - one.x);

function cross(a: Corner, b: Corner, c: Corner, d: Corner): boolean {
  return turn(a, b, c) * turn(a, b, d) < 0 && turn(c, d, a) * turn(c, d, b) < 0;
}

/** Say what is wrong with a zone, or null. */
export function faultOf(corners: readonly Corner[]): Fault | null {
  const count = corners.length;
  if (count < CORNERS_LEAST) return "few";
  if (count > CORNERS_MOST) return "many";
  for (let one = 0; one < count; one += 1) {
    for (let other = one + 2; other < count; other += 1) {
      if (other - one === count - 1) continue;
      if (cross(at(corners, one), at(corners, one + 1), at(corners, other), at(corners, other + 1))) return "crossing";
    }
  }
  const twice = corners.reduce((sum, corner, index) => sum + corner.x * at(corners, index + 1).y - at(corners, index + 1).x * corner.y, 0);
  return Math.abs(twice) / 2 < AREA_LEAST ? "empty" : null;
}
