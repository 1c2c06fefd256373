// What the dialogs of the office share: their frame, the reason that goes on record, and how a failure is said.
import { Alert as Banner, Button, Input, Modal } from "antd";
import type { ReactElement, ReactNode } from "react";
import { useCallback, useId, useState } from "react";

import { Problem } from "../api";
import { useText, worded } from "../text/language";
import { InView } from "./InView";

/** Below the root, not the body: there the library would lock scrolling by a style element that has no nonce. */
export const page = (): HTMLElement => document.getElementById("root") ?? document.body;
const WHY_MOST = 200;

export interface FrameProps { title: string; width?: number; onClose: () => void; failure: string | null; footer?: ReactNode; children: ReactNode }

export function Frame({ title, width = 640, onClose, failure, footer, children }: FrameProps): ReactElement {
  const text = useText().faces;
  const close = <Button key="close" onClick={onClose}>{text.close}</Button>;
  return (
    <Modal open destroyOnHidden getContainer={page} mask={{ closable: false }} title={title} width={width} onCancel={onClose} footer={<>{close}{footer}</>}>
      <div className="office">
        {failure !== null && <InView><Banner type="error" role="alert" showIcon title={failure} /></InView>}
        {children}
      </div>
    </Modal>
  );
}

/** Why something is done, for the audit log; some gateways insist on it. */
export function Why({ value, onChange }: { value: string; onChange: (why: string) => void }): ReactElement {
  const text = useText().faces;
  const id = useId();
  return (
    <p className="why">
      <label htmlFor={id}>{text.why}</label>
      <Input id={id} size="small" maxLength={WHY_MOST} value={value} placeholder={text.whyHelp} onChange={(event) => { onChange(event.target.value); }} />
    </p>
  );
}

export interface Acting { busy: boolean; failure: string | null; say: (words: string | null) => void; act: (work: () => Promise<void>) => Promise<void> }

/** Run what asks the gateway, one at a time: say its failure in words, and that the session ended. `reasons` are words for stable ones. */
export function useActing(onExpired: () => void, reasons: Record<string, string>): Acting {
  const text = useText().faces;
  const [busy, setBusy] = useState(false);
  const [failure, say] = useState<string | null>(null);
  const act = useCallback(async (work: () => Promise<void>): Promise<void> => {
    setBusy(true);
    say(null);
    try {
      await work();
    } catch (cause) {
      if (cause instanceof Problem && cause.status === 401) onExpired();
      else say(wordsOf(cause, { reasons, failed: text.failed, unreachable: text.unreachable }));
    } finally {
      setBusy(false);
    }
  }, [onExpired, reasons, text]);
  return { busy, failure, say, act };
}

interface Words { reasons: Record<string, string>; failed: (detail: string) => string; unreachable: string }

export function wordsOf(cause: unknown, { reasons, failed, unreachable }: Words): string {
  if (!(cause instanceof Problem)) return failed(cause instanceof Error ? cause.message : String(cause));
  if (cause.status === 0) return unreachable;
  return cause.reason !== "" && Object.hasOwn(reasons, cause.reason) ? worded(reasons, cause.reason) : failed(cause.message);
}
