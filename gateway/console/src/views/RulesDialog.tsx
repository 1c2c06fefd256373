// Changes the rules of a door, unless somebody was faster: what is wrong stands at its rule, in the gateway's words.
import { Alert as Banner, App, Button, Skeleton } from "antd";
import type { ReactElement } from "react";
import { useCallback, useEffect, useState } from "react";

import type { Door, Gateway } from "../api";
import { Problem } from "../api";
import type { DoorSettings, Rules, Schedule } from "../doors";
import { changesOf, doorSettings, ruleAtFault, rulesOf, saveRules, schedules } from "../doors";
import { useText } from "../text/language";
import { Frame, useActing, Why } from "./Dialog";
import { InView } from "./InView";
import type { DialogProps } from "./Office";
import type { Faults } from "./RuleFields";
import { RuleFields } from "./RuleFields";

const CONFLICT = 409;
const NO_WORDS: Record<string, string> = {};
interface Loaded { settings: DoorSettings; schedules: Schedule[] | null }

async function load(gateway: Gateway, doorId: string, seesSchedules: boolean): Promise<Loaded> {
  const settings = await doorSettings(gateway, doorId);
  return { settings, schedules: seesSchedules ? await schedules(gateway, settings.site_id) : null };
}

export function RulesDialog({ gateway, door, seesSchedules, onExpired, onClose }: DialogProps & { door: Door; seesSchedules: boolean }): ReactElement {
  const text = useText().atDoors.rules;
  const { message } = App.useApp();
  const { busy, failure, act } = useActing(onExpired, NO_WORDS);
  const [loaded, setLoaded] = useState<Loaded | null>(null);
  const [rules, setRules] = useState<Rules | null>(null);
  const [faults, setFaults] = useState<Faults>({});
  const [overtaken, setOvertaken] = useState(false);
  const [why, setWhy] = useState("");
  const show = useCallback((found: Loaded): void => {
    setLoaded(found);
    setRules(rulesOf(found.settings));
    setFaults({});
  }, []);
  useEffect(() => { void act(async () => { show(await load(gateway, door.id, seesSchedules)); }); }, [act, door.id, gateway, seesSchedules, show]);
  const changes = loaded === null || rules === null ? {} : changesOf(rules, rulesOf(loaded.settings));
  const same = Object.keys(changes).length === 0;
  const refused = async (cause: unknown, seen: Loaded): Promise<void> => {
    const rule = ruleAtFault(cause);
    if (rule !== null && cause instanceof Problem) {
      setFaults({ [rule]: cause.message });
      return;
    }
    if (!(cause instanceof Problem) || cause.status !== CONFLICT) throw cause;
    const fresh = await load(gateway, door.id, seesSchedules);
    if (fresh.settings.version === seen.settings.version) throw cause;
    show(fresh);
    setOvertaken(true);
  };
  const save = (): void => {
    void act(async () => {
      if (loaded === null) return;
      setOvertaken(false);
      setFaults({});
      try {
        show({ ...loaded, settings: await saveRules(gateway, loaded.settings, { changes, why }) });
        void message.success(text.saved);
      } catch (cause) {
        await refused(cause, loaded);
      }
    });
  };
  const seeded = loaded?.settings.seeded === true;
  const saving = <Button key="save" type="primary" loading={busy} disabled={same || seeded} onClick={save}>{text.save}</Button>;
  return (
    <Frame title={text.title(door.name)} width={720} onClose={onClose} failure={failure} footer={saving}>
      <p className="hint">{text.help}</p>
      {overtaken && <InView><Banner type="warning" role="alert" showIcon title={text.changedMeanwhile} /></InView>}
      {seeded && <Banner type="info" showIcon title={text.seeded} />}
      {!seeded && <Why value={why} onChange={setWhy} />}
      {loaded === null && failure === null && <Skeleton active />}
      {loaded !== null && rules !== null && (
        <RuleFields
          rules={rules} faults={faults} locked={seeded || busy} schedules={loaded.schedules}
          onChange={(change) => { setRules({ ...rules, ...change }); }}
        />
      )}
      {loaded !== null && !seeded && same && <p className="hint">{text.same}</p>}
    </Frame>
  );
}
