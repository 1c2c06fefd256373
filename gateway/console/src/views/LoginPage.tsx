// Log in. Says why if it does not work, and why one is here if a session ended.
import { Alert as Banner, Button, Input } from "antd";
import type { ReactElement } from "react";
import { useId, useState } from "react";

import type { Appearance } from "../App";
import type { Gateway, User } from "../api";
import { Problem } from "../api";
import { useText } from "../text/language";
import type { Catalogue } from "../text/zh";
import { Preferences } from "./Preferences";

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
  const [failure, setFailure] = useState<unknown>(null);
  const said = failure !== null ? reason(text.login, failure) : notice !== null ? text.login[notice] : null;
  return (
    <main className="login">
      <div className="login-preferences"><Preferences appearance={appearance} /></div>
      <div className="panel login-card">
        <h1><img src="/favicon.svg" alt="" width={32} height={32} /> {text.product}</h1>
        {said !== null && <Banner className="login-said" type={failure !== null ? "error" : "warning"} title={said} showIcon role="alert" />}
        <LoginForm gateway={gateway} onEntered={onEntered} onFailed={setFailure} />
      </div>
    </main>
  );
}

interface FormProps { gateway: Gateway; onEntered: (user: User) => void; onFailed: (cause: unknown) => void }

function LoginForm({ gateway, onEntered, onFailed }: FormProps): ReactElement {
  const text = useText().login;
  const ids = { username: useId(), password: useId() };
  const [username, setUsername] = useState("");
  const [password, setPassword] = useState("");
  const [tried, setTried] = useState(false);
  const [busy, setBusy] = useState(false);
  const submit = async (): Promise<void> => {
    setTried(true);
    if (username.trim() === "" || password === "") return;
    setBusy(true);
    try {
      onEntered(await gateway.logIn(username.trim(), password));
    } catch (cause) {
      onFailed(cause);
      setBusy(false);
    }
  };
  const lacks = { username: tried && username.trim() === "", password: tried && password === "" };
  return (
    <form noValidate onSubmit={(event) => { event.preventDefault(); void submit(); }}>
      <label htmlFor={ids.username}>{text.username}</label>
      <Input
        id={ids.username} value={username} onChange={(event) => { setUsername(event.target.value); }} size="large" autoFocus maxLength={64}
        autoComplete="username" autoCapitalize="none" spellCheck={false} status={lacks.username ? "error" : ""} aria-invalid={lacks.username}
      />
      <p className="fault" role="status">{lacks.username && text.usernameMissing}</p>
      <label htmlFor={ids.password}>{text.password}</label>
      <Input.Password
        id={ids.password} value={password} onChange={(event) => { setPassword(event.target.value); }} size="large" maxLength={256}
        autoComplete="current-password" status={lacks.password ? "error" : ""} aria-invalid={lacks.password}
      />
      <p className="fault" role="status">{lacks.password && text.passwordMissing}</p>
      <Button type="primary" htmlType="submit" size="large" block loading={busy}>{text.submit}</Button>
    </form>
  );
}
