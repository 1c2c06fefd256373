// Log in. Says why if it does not work, and why one is here if a session ended.
import { Alert as Banner, Button, Card, Form, Input } from "antd";
import type { ReactElement } from "react";
import { useState } from "react";

import type { Appearance } from "../App";
import type { Gateway, User } from "../api";
import { Problem } from "../api";
import { useText } from "../text/language";
import type { Catalogue } from "../text/zh";
import { Preferences } from "./Preferences";

interface Entry { username: string; password: string }
export interface LoginProps {
  gateway: Gateway; notice: "expired" | "unreachable" | null; onEntered: (user: User) => void; appearance: Appearance;
}

function reason(text: Catalogue["login"], cause: unknown): string {
  if (!(cause instanceof Problem) || cause.status === 0) return text.unreachable;
  if (cause.status === 401) return text.wrong;
  return cause.status === 429 ? text.locked : cause.message;
}

export function LoginPage({ gateway, notice, onEntered, appearance }: LoginProps): ReactElement {
  const text = useText();
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<unknown>(null);
  const submit = async ({ username, password }: Entry): Promise<void> => {
    setBusy(true);
    try {
      onEntered(await gateway.logIn(username.trim(), password));
    } catch (cause) {
      setFailure(cause);
      setBusy(false);
    }
  };
  const said = failure !== null ? reason(text.login, failure) : notice !== null ? text.login[notice] : null;
  return (
    <main className="login">
      <div className="login-preferences"><Preferences appearance={appearance} /></div>
      <Card className="login-card">
        <h1><img src="/favicon.svg" alt="" width={32} height={32} /> {text.product}</h1>
        {said !== null && <Banner className="login-said" type={failure !== null ? "error" : "warning"} title={said} showIcon role="alert" />}
        <Form<Entry> layout="vertical" requiredMark={false} onFinish={(entry) => { void submit(entry); }}>
          <Form.Item name="username" label={text.login.username} rules={[{ required: true, message: text.login.usernameMissing }]}>
            <Input autoComplete="username" autoCapitalize="none" spellCheck={false} maxLength={64} size="large" autoFocus />
          </Form.Item>
          <Form.Item name="password" label={text.login.password} rules={[{ required: true, message: text.login.passwordMissing }]}>
            <Input.Password autoComplete="current-password" maxLength={256} size="large" />
          </Form.Item>
          <Button type="primary" htmlType="submit" size="large" block loading={busy}>{text.login.submit}</Button>
        </Form>
      </Card>
    </main>
  );
}
