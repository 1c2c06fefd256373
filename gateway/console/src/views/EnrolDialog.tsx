// Enrols a face for a manager: find the person, see their consent, then photos or a door's camera. No picture comes back.
import { App, Button, Segmented } from "antd";
import type { ReactElement } from "react";
import { useState } from "react";

import type { Door } from "../api";
import type { Person } from "../office";
import { findPeople, person } from "../office";
import { useText } from "../text/language";
import type { Acting } from "./Dialog";
import { Frame, useActing, Why } from "./Dialog";
import { EnrolAtDoor } from "./EnrolAtDoor";
import { EnrolPhotos } from "./EnrolPhotos";
import type { DialogProps } from "./Office";
import type { Found } from "./PersonSearch";
import { PersonSearch } from "./PersonSearch";

export interface EnrolProps { gateway: DialogProps["gateway"]; who: Person; why: string; acting: Acting; onEnrolled: () => void }
const PURPOSE = "door_face";

export function EnrolDialog({ gateway, doors, onExpired, onClose }: DialogProps): ReactElement {
  const text = useText().faces.enrol;
  const acting = useActing(onExpired, text.reason);
  const [why, setWhy] = useState("");
  const [found, setFound] = useState<Found>(null);
  const [who, setWho] = useState<Person | null>(null);
  const choose = (id: string): void => { void acting.act(async () => { setWho(await person(gateway, id, why)); }); };
  return (
    <Frame title={text.title} onClose={onClose} failure={acting.failure}>
      <Why value={why} onChange={setWhy} />
      {who === null && (
        <PersonSearch
          label={text.search} found={found} busy={acting.busy} onChoose={choose}
          onFind={(name) => { void acting.act(async () => { setFound(await findPeople(gateway, name, why)); }); }}
        />
      )}
      {who !== null && (
        <>
          <p className="who">
            <strong>{who.name}</strong> <span className="faint">{who.external_id ?? who.id}</span>
            <Button size="small" onClick={() => { setWho(null); acting.say(null); }}>{text.other}</Button>
          </p>
          <Consented who={who} doors={doors} />
          {allows(who) && <Ways {...{ gateway, who, why, acting }} doors={doors} onEnrolled={() => { choose(who.id); }} />}
        </>
      )}
    </Frame>
  );
}

const liveConsents = (who: Person): Person["consents"] => who.consents.filter((consent) => consent.live && consent.purpose === PURPOSE);
const allows = (who: Person): boolean => liveConsents(who).length > 0;
const doorsOf = (who: Person): string[] => [...new Set(liveConsents(who).flatMap((consent) => consent.doors))];

/** What this person agreed to; without it, what comes first, and nothing that would ask again who said no. */
function Consented({ who, doors }: { who: Person; doors: ReadonlyMap<string, Door> }): ReactElement {
  const text = useText().faces.enrol;
  const names = doorsOf(who).map((id) => doors.get(id)?.name ?? id);
  return (
    <div className="consented" data-consent={allows(who) ? "live" : "none"}>
      {who.under_14 && <p>{text.under14}</p>}
      {allows(who) ? <p>{text.consented(names.join(", "))}</p> : <p><strong>{text.noConsent}</strong></p>}
      {!allows(who) && <p>{who.may_be_asked.includes(PURPOSE) ? text.askConsent : text.refused}</p>}
      <p className="faint">{text.templates(who.faces.length)}</p>
    </div>
  );
}

function Ways({ doors, onEnrolled, ...props }: Omit<EnrolProps, "onEnrolled"> & { doors: ReadonlyMap<string, Door>; onEnrolled: () => void }): ReactElement {
  const text = useText().faces.enrol;
  const { message } = App.useApp();
  const [way, setWay] = useState<"photos" | "door">("photos");
  const [locked, setLocked] = useState(false);
  const options = [{ value: "photos" as const, label: text.photos }, { value: "door" as const, label: text.atDoor }];
  const open = doorsOf(props.who).map((id) => doors.get(id)).filter((door) => door?.face != null);
  const done = (): void => {
    void message.success(text.state.confirmed);
    onEnrolled();
  };
  return (
    <>
      <Segmented block aria-label={text.way} options={options} value={way} disabled={locked} onChange={setWay} />
      {way === "photos" && <EnrolPhotos {...props} onEnrolled={done} />}
      {way === "door" && <EnrolAtDoor {...props} doors={open.filter((door) => door !== undefined)} onRunning={setLocked} onEnrolled={done} />}
    </>
  );
}
