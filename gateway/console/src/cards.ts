// The canonical number of a card from what a desk reader typed. The same rules as models/cards.py, which the tests of both read
// from cards.vectors.json, so that a number is seen before it is saved. Pure; keeps nothing.
import type { CardFormat } from "./doors";

export type CardFault = "long" | "hex" | "decimal" | "facility" | "bits" | "parity" | "wide" | "short";
export type CardRead = { number: string } | { fault: CardFault };
type Shape = Pick<CardFormat, "notation" | "frame" | "width" | "reverse" | "keep" | "keep_from">;

const READING_CHARS = 64;
const CARD_DIGITS = 20;
const RAW_BITS = { least: 16, most: 80 };
/** Over how many bits of a Wiegand frame's data each of its two parities goes. */
const EACH_PARITY = new Map([[26, 12], [34, 16], [37, 18]]);
/** How many bits of a frame's data are the card's own number; the facility's code is before them. */
const NUMBER_BITS = new Map([[0, 16], [26, 16], [34, 16], [37, 19]]);
const PLAIN_FACILITY_FRAME = 26;

class Unreadable extends Error {
  readonly fault: CardFault;
  constructor(fault: CardFault) {
    super(fault);
    this.fault = fault;
  }
}

/** Return the canonical number of what a reader typed, or what is wrong with it; without a format it is read as it comes. */
export function cardRead(typed: string, by: Shape | null): CardRead {
  try {
    return { number: canonicalReading(typed.normalize("NFKC").trim(), by) };
  } catch (cause) {
    if (cause instanceof Unreadable) return { fault: cause.fault };
    throw cause;
  }
}

function canonicalReading(reading: string, by: Shape | null): string {
  if (reading.length > READING_CHARS) throw new Unreadable("long");
  const raw = rawBits(reading);
  if (by === null) return canonical(raw === null ? reading : ofRaw(raw, null));
  if (raw !== null) return kept(ofRaw(raw, by), by);
  return kept(by.notation === "facility" ? ofFacility(reading, by) : ofNumber(reading, by), by);
}

/** Upper-case hexadecimal without separators or leading zeros. */
function canonical(hex: string): string {
  const digits = hex.replace(/[: -]/g, "").toUpperCase();
  if (!/^[0-9A-F]+$/.test(digits)) throw new Unreadable("hex");
  if (digits.length > CARD_DIGITS) throw new Unreadable("long");
  return digits.replace(/^0+(?=.)/, "");
}

function kept(hex: string, by: Shape): string {
  const octets = hex.match(/../g) ?? [];
  const ordered = by.reverse ? octets.reverse() : octets;
  if (by.keep === 0) return canonical(ordered.join(""));
  if (ordered.length < by.keep) throw new Unreadable("short");
  return canonical((by.keep_from === "start" ? ordered.slice(0, by.keep) : ordered.slice(-by.keep)).join(""));
}

interface Raw { bits: number; number: bigint }

/** Bare bits are written `BITS:HEX`, the last byte filled with zeros. */
function rawBits(reading: string): Raw | null {
  const match = /^([0-9]{2}):([0-9A-Fa-f]+)$/.exec(reading);
  if (match === null) return null;
  const [bits, hex] = [Number(match[1]), match[2] ?? ""];
  if (bits < RAW_BITS.least || bits > RAW_BITS.most || hex.length !== 2 * octetsOf(bits)) return null;
  return { bits, number: BigInt(`0x${hex}`) >> BigInt(2 * 4 * octetsOf(bits) - bits) };
}

function ofRaw({ bits, number }: Raw, by: Shape | null): string {
  const framed = by === null && EACH_PARITY.has(bits) && parityHolds(number, bits);
  const frame = framed ? bits : by?.frame ?? 0;
  if (frame === 0) return sized(number, by === null || by.width === 0 ? octetsOf(bits) : by.width);
  if (bits !== frame) throw new Unreadable("bits");
  return unframed(number, frame);
}

function ofNumber(reading: string, by: Shape): string {
  const digits = reading.replace(/[ :-]/g, "");
  const decimal = by.notation === "decimal";
  if (!(decimal ? /^[0-9]+$/ : /^[0-9A-Fa-f]+$/).test(digits)) throw new Unreadable(decimal ? "decimal" : "hex");
  const number = BigInt(decimal ? digits : `0x${digits}`);
  if (by.frame !== 0) return unframed(number, by.frame);
  const asItComes = Math.ceil((decimal ? number.toString(16) : digits).length / 2);
  return sized(number, by.width === 0 ? asItComes : by.width);
}

/** Facility code and number, apart or in one: the number has as many digits as its bits can need. */
function ofFacility(reading: string, by: Shape): string {
  const ownBits = BigInt(NUMBER_BITS.get(by.frame) ?? 0);
  const ownDigits = ((1n << ownBits) - 1n).toString().length;
  const match = /^([0-9]{1,5})[,:/ -]([0-9]{1,6})$/.exec(reading) ?? new RegExp(`^([0-9]+)([0-9]{${ownDigits}})$`).exec(reading);
  if (match === null) throw new Unreadable("facility");
  const [facility, own] = [BigInt(match[1] ?? ""), BigInt(match[2] ?? "")];
  const frame = by.frame === 0 ? PLAIN_FACILITY_FRAME : by.frame;
  if (own >> ownBits > 0n || facility >> (BigInt(frame - 2) - ownBits) > 0n) throw new Unreadable("wide");
  return sized((facility << ownBits) | own, octetsOf(frame - 2));
}

function unframed(number: bigint, frame: number): string {
  if (number >> BigInt(frame) > 0n) throw new Unreadable("wide");
  if (!parityHolds(number, frame)) throw new Unreadable("parity");
  return sized((number >> 1n) & ((1n << BigInt(frame - 2)) - 1n), octetsOf(frame - 2));
}

/** The first parity makes its half even, the last makes its half odd. */
function parityHolds(number: bigint, frame: number): boolean {
  const each = EACH_PARITY.get(frame) ?? 0;
  const first = number >> BigInt(frame - 1 - each);
  const last = number & ((1n << BigInt(each + 1)) - 1n);
  return ones(first) % 2 === 0 && ones(last) % 2 === 1;
}

const ones = (number: bigint): number => number.toString(2).replaceAll("0", "").length;
const octetsOf = (bits: number): number => Math.ceil(bits / 8);

function sized(number: bigint, width: number): string {
  if (number >> BigInt(8 * width) > 0n) throw new Unreadable("wide");
  return number.toString(16).padStart(2 * width, "0");
}
