import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

import { CATALOGUES, siteTime, worded } from "./language";

const root = join(import.meta.dirname, "..");
const models = join(root, "../../../models");

function paths(value: unknown, at = ""): string[] {
  if (typeof value !== "object" || value === null) return [`${at}:${typeof value}`];
  return Object.entries(value).flatMap(([key, inner]) => paths(inner, `${at}.${key}`));
}

/** The words of `Name = Literal[...]` in a module of the models. */
function literals(module: string, name: string): string[] {
  const source = readFileSync(join(models, module), "utf8");
  const body = new RegExp(`^\\s*${name}\\s*[=:] (?:Literal)?\\[?([^\\]]*)\\]`, "m").exec(source)?.[1] ?? "";
  return [...body.matchAll(/"([a-z0-9_+]+)"/g)].map((match) => match[1] ?? "");
}

/** The stable words that errors of these modules carry. */
function because(...modules: string[]): string[] {
  const words = modules.flatMap((module) => [...readFileSync(join(models, module), "utf8").matchAll(/because\(\s*"([a-z_]+)"(?: if \w+ else "([a-z_]+)")?/g)].flatMap((match) => [match[1], match[2]]));
  const found = words.filter((word) => word !== undefined);
  expect(found.length).toBeGreaterThan(2);
  return found;
}

function sources(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((file) => /\.tsx?$/.test(file) && !file.includes(".test.") && !file.startsWith("text"));
}

describe("the message catalogue", () => {
  const { zh, en } = CATALOGUES;

  it("says the same things in both languages", () => {
    expect(paths(en).sort()).toEqual(paths(zh).sort());
  });

  it("leaves nothing empty by accident", () => {
    const empty = (value: unknown): string[] => paths(value).filter((path) => !path.endsWith(":function"));
    expect(empty(zh).length).toBeGreaterThan(100);
    for (const language of [zh, en]) {
      for (const message of [language.kind, language.procedure, language.severity, language.workflow, language.disposition].flatMap((part) => Object.values(part))) {
        expect(message).not.toBe("");
      }
    }
  });

  it.each([["kind", "AlertKind"], ["procedure", "AlertKind"], ["severity", "Severity"], ["workflow", "Workflow"], ["condition", "Condition"]] as const)(
    "has a word in %s for every %s of the models",
    (part, name) => {
      const words = literals("alerts.py", name);
      expect(words.length).toBeGreaterThan(1);
      for (const { [part]: messages } of Object.values(CATALOGUES)) expect(Object.keys(messages).sort()).toEqual(words.sort());
    },
  );

  it("has a word for every mode of a door", () => {
    const words = literals("policy.py", "DoorMode");
    expect(words.length).toBeGreaterThan(1);
    for (const language of Object.values(CATALOGUES)) expect(Object.keys(language.doors.mode).sort()).toEqual(words.sort());
  });

  it("has words for all that is said about faces", () => {
    const wanted = { WhyNot: "calibration.py", Provider: "liveness.py", Hint: "link.py", State: "../gateway/door_enrolment.py" };
    const said = (language: (typeof CATALOGUES)["zh"]): Record<string, object> => (
      { WhyNot: language.faces.door.whyNot, Provider: language.faces.door.provider, Hint: language.faces.enrol.hint, State: language.faces.enrol.state }
    );
    for (const [name, module] of Object.entries(wanted)) {
      const words = literals(module, name);
      expect(words.length, name).toBeGreaterThan(1);
      for (const language of Object.values(CATALOGUES)) expect(Object.keys(said(language)[name] ?? {}).filter(Boolean).sort(), name).toEqual(words.sort());
    }
  });

  it("has a word for why a photo or a picture is not taken", () => {
    const photo = /IMAGE_REASONS = frozenset\(\s*\{([^}]*)\}/.exec(readFileSync(join(models, "../gateway/enrolment.py"), "utf8"))?.[1] ?? "";
    const still = [...readFileSync(join(models, "../edge/stills.py"), "utf8").matchAll(/_ended\(\s*order, (?:picture\.reason or )?"([a-z_]+)"/g)].map((match) => match[1] ?? "");
    const words = [...photo.matchAll(/"([a-z_]+)"/g)].map((match) => match[1] ?? "");
    expect(words.length).toBeGreaterThan(10);
    expect(still.length).toBeGreaterThan(3);
    for (const { faces } of Object.values(CATALOGUES)) {
      expect(Object.keys(faces.enrol.reason)).toEqual(expect.arrayContaining(words));
      expect(Object.keys(faces.zone.reason)).toEqual(expect.arrayContaining(still.filter((word) => word !== "unusable")));
    }
  });

  it("has a word for every rung of the ladder of a device and for why a trial failed", () => {
    const rungs = literals("devices.py", "Reach");
    const ended = [...readFileSync(join(models, "../edge/adopting.py"), "utf8").matchAll(/"(?:refused|failed)", reason="([a-z_]+)"/g)].map((match) => match[1] ?? "");
    expect(rungs.length).toBe(5);
    expect(ended.length).toBeGreaterThan(3);
    for (const { devices } of Object.values(CATALOGUES)) {
      expect(Object.keys(devices.reach)).toEqual(rungs);
      expect(Object.keys(devices.reason)).toEqual(expect.arrayContaining(ended));
      expect(Object.keys(devices.reason)).toEqual(expect.arrayContaining(because("../gateway/adoption.py", "../gateway/device_orders.py")));
      expect(Object.keys(devices.why)).toEqual(expect.arrayContaining(because("../drivers/onvif/probe.py", "../drivers/onvif/transport.py", "../drivers/onvif/client.py", "../drivers/rtsp/driver.py")));
      expect(Object.keys(devices.why)).toEqual(expect.arrayContaining(because("../drivers/onvif/discovery.py", "../drivers/mqtt/link.py")));
      expect(Object.keys(devices.register.reason)).toEqual(expect.arrayContaining(because("../gateway/store/registering.py", "../gateway/store/kept.py")));
      expect(Object.keys(devices.register.placeClasses).sort()).toEqual(literals("places.py", "PlaceClass").sort());
      expect(Object.keys(devices.capability)).toEqual(expect.arrayContaining(literals("../drivers/door.py", "Capability")));
    }
  });

  it("has words for the rules of a door, and for what the gateway says of an edge out of reach", () => {
    const wanted = { Factor: "factors", Passback: "passback", Fail: "fail", ExitKind: "exit" } as const;
    const silent = /SILENT_EDGE = "([^"]+)"/.exec(readFileSync(join(models, "../gateway/store/places.py"), "utf8"))?.[1] ?? "";
    for (const { atDoors } of Object.values(CATALOGUES)) {
      for (const [name, rule] of Object.entries(wanted)) expect(Object.keys(atDoors.rules[rule].word).sort(), name).toEqual(literals("places.py", name).sort());
      expect(Object.keys(atDoors.trouble)).toEqual([silent]);
    }
  });

  it("has a word for everything that is wrong with a camera's picture", () => {
    for (const { cameras } of Object.values(CATALOGUES)) expect(Object.keys(cameras.trouble).sort()).toEqual(literals("events.py", "Trouble").sort());
  });

  it("has a word for every role", () => {
    const words = literals("../gateway/auth/roles.py", "Role");
    expect(words.length).toBeGreaterThan(1);
    for (const language of Object.values(CATALOGUES)) expect(Object.keys(language.role).sort()).toEqual(words.sort());
  });

  it("is the only place with Chinese text", () => {
    const files = sources(root);
    expect(files.length).toBeGreaterThan(15);
    for (const file of files) expect(readFileSync(join(root, file), "utf8"), file).not.toMatch(/[\u3400-\u9fff]/);
  });

  it("names what a newer gateway says by its own word", () => {
    expect(worded(zh.kind, "lift_stuck")).toBe("lift_stuck");
    expect(worded(zh.kind, "toString")).toBe("toString");
  });
});

describe("a time on the page", () => {
  const now = Date.parse("2026-11-23T12:00:00Z");

  it("is on the site's clock", () => {
    expect(siteTime("2026-11-23T11:59:58Z", { now })).toBe("19:59:58");
    expect(siteTime("2026-11-23T11:59:58Z", { now, zone: "Europe/Berlin" })).toBe("12:59:58");
  });

  it("has its date unless it is today there", () => {
    expect(siteTime("2026-11-22T15:59:59Z", { now })).toBe("2026-11-22 23:59:59");
    expect(siteTime("2026-11-22T16:00:00Z", { now })).toBe("00:00:00");
  });

  it("survives a zone or a time that cannot be read", () => {
    expect(siteTime("2026-11-23T11:59:58Z", { now, zone: "Mars/Base" })).toBe("19:59:58");
    expect(siteTime("soon", { now })).toBe("soon");
  });
});
