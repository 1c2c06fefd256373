// Opens the office's dialogs for the console's own tests, over a gateway that answers as told.
import { cleanup, fireEvent, render, screen, waitFor } from "@testing-library/react";
import { App as AntApp } from "antd";
import { expect, vi } from "vitest";

import type { Answers } from "./samples";
import { cameraOf, doorOf, faceOf, gatewayOf, json, personOf } from "./samples";
import { CATALOGUES, Text } from "./text/language";
import { BypassDialog } from "./views/BypassDialog";
import { CardDialog } from "./views/CardDialog";
import { DevicesDialog } from "./views/DevicesDialog";
import { EnrolDialog } from "./views/EnrolDialog";
import { EvidenceDialog } from "./views/EvidenceDialog";
import { RulesDialog } from "./views/RulesDialog";
import { ZoneDialog } from "./views/ZoneDialog";

const DOORS = new Map([["d1", doorOf({ face: faceOf() })]]);
export const photo = (name: string, type = "image/jpeg", bytes = 10): File => new File([new Uint8Array(bytes)], name, { type });

export const stub = (): void => {
  vi.stubGlobal("ResizeObserver", class { observe = vi.fn(); unobserve = vi.fn(); disconnect = vi.fn(); });
  Element.prototype.scrollIntoView = vi.fn(); // jsdom lays nothing out
  vi.stubGlobal("matchMedia", (query: string) => ({ matches: false, media: query, addListener: vi.fn(), removeListener: vi.fn(), addEventListener: vi.fn(), removeEventListener: vi.fn() }));
};
export const unstub = (): void => {
  cleanup();
  vi.unstubAllGlobals();
};

type Dialog = "enrol" | "zone" | "evidence" | "devices" | "rules" | "rules without schedules" | "bypass" | "card";

/** Open a dialog in English over a gateway that answers as told. */
export function open(dialog: Dialog, answers: Answers, door = doorOf()): { asked: ReturnType<typeof gatewayOf>["asked"]; expired: () => number; unmount: () => void } {
  const { gateway, asked } = gatewayOf(answers);
  const onExpired = vi.fn();
  const props = { gateway, doors: DOORS, onExpired, onClose: vi.fn() };
  const drawn = {
    rules: <RulesDialog {...props} door={door} seesSchedules />, "rules without schedules": <RulesDialog {...props} door={door} seesSchedules={false} />,
    bypass: <BypassDialog {...props} doors={new Map([["d1", door]])} door={door} />, card: <CardDialog {...props} />,
    enrol: <EnrolDialog {...props} />, zone: <ZoneDialog {...props} camera={cameraOf({ door_id: "d1" })} />, evidence: <EvidenceDialog {...props} />, devices: <DevicesDialog {...props} />,
  };
  const { unmount } = render(<Text value={CATALOGUES.en}><AntApp>{drawn[dialog]}</AntApp></Text>);
  return { asked, expired: () => onExpired.mock.calls.length, unmount };
}

export async function chosen(answers: Answers, person = personOf()): Promise<ReturnType<typeof open>> {
  const opened = open("enrol", { "GET people": () => json({ items: [person], next: null }), "GET people/p1": () => json(person), ...answers });
  const name = screen.getByLabelText("Name");
  fireEvent.change(name, { target: { value: " Wang " } });
  fireEvent.submit(name);
  fireEvent.click(await screen.findByRole("button", { name: /Wang Fang/ }));
  await waitFor(() => { expect(document.querySelector("[data-consent]")).not.toBeNull(); });
  return opened;
}

/** Return a button once nothing loads behind it: until then it takes no click. */
export async function idle(name: RegExp): Promise<HTMLElement> {
  const button = await screen.findByRole("button", { name });
  await waitFor(() => { expect(button.className).not.toContain("loading"); });
  return button;
}
