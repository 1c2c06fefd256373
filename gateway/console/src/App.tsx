// The whole page: language and theme, who is logged in, and either the log-in or the console. What the console knows lives
// here, above both, so that an expired session loses nothing; it is emptied when somebody else logs in.
import { App as AntApp, ConfigProvider, Spin, theme } from "antd";
import enUS from "antd/locale/en_US";
import zhCN from "antd/locale/zh_CN";
import type { ReactElement } from "react";
import { useCallback, useEffect, useMemo, useReducer, useRef, useState } from "react";

import type { Gateway, User } from "./api";
import { Problem } from "./api";
import { advance, EMPTY } from "./board";
import type { Source } from "./live";
import type { Language } from "./text/language";
import { CATALOGUES, rememberedLanguage, rememberLanguage, Text } from "./text/language";
import { rememberDark, rememberedDark } from "./theme";
import { ConsolePage } from "./views/ConsolePage";
import { Crash } from "./views/Crash";
import type { Draft } from "./views/ResolveForm";
import { LoginPage } from "./views/LoginPage";

export interface AppProps { nonce: string; gateway: Gateway; openSource: () => Source }
export interface Appearance { language: Language; setLanguage: (language: Language) => void; dark: boolean; setDark: (dark: boolean) => void }
type Who = { state: "asking" } | { state: "nobody"; expired: boolean } | { state: "unreachable" } | { state: "in"; user: User };

function useAppearance(): Appearance {
  const [language, speak] = useState(() => rememberedLanguage());
  const [dark, darken] = useState(() => rememberedDark());
  useEffect(() => { document.documentElement.lang = CATALOGUES[language].lang; }, [language]);
  useEffect(() => { document.documentElement.dataset.theme = dark ? "dark" : "light"; }, [dark]);
  const setLanguage = useCallback((chosen: Language) => { rememberLanguage(chosen); speak(chosen); }, []);
  const setDark = useCallback((chosen: boolean) => { rememberDark(chosen); darken(chosen); }, []);
  return { language, setLanguage, dark, setDark };
}

const ASK_AGAIN_MS = 3_000;

function refusal(cause: unknown): Who {
  return cause instanceof Problem && cause.status === 401 ? { state: "nobody", expired: false } : { state: "unreachable" };
}

function useWho(gateway: Gateway): [Who, (who: Who) => void] {
  const [who, setWho] = useState<Who>({ state: "asking" });
  useEffect(() => {
    let stale = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = async (): Promise<void> => {
      const answer = await gateway.session().then((user): Who => ({ state: "in", user }), refusal);
      if (stale) return;
      // Somebody may have logged in while this was asked.
      setWho((held) => (held.state === "asking" || held.state === "unreachable" ? answer : held));
      if (answer.state === "unreachable") timer = setTimeout(() => { void ask(); }, ASK_AGAIN_MS);
    };
    void ask();
    return () => {
      stale = true;
      clearTimeout(timer);
    };
  }, [gateway]);
  return [who, setWho];
}

function Page({ gateway, openSource, appearance }: Omit<AppProps, "nonce"> & { appearance: Appearance }): ReactElement {
  const [who, setWho] = useWho(gateway);
  const [board, dispatch] = useReducer(advance, EMPTY);
  const [draft, setDraft] = useState<Draft | null>(null);
  const last = useRef<string | null>(null);

  const enter = useCallback((user: User) => {
    if (last.current !== null && last.current !== user.id) {
      dispatch({ type: "emptied" });
      setDraft(null);
    }
    last.current = user.id;
    setWho({ state: "in", user });
  }, [setWho]);
  const onExpired = useCallback(() => { setWho({ state: "nobody", expired: true }); }, [setWho]);
  const onLeft = useCallback(() => {
    dispatch({ type: "emptied" });
    setDraft(null);
    setWho({ state: "nobody", expired: false });
  }, [setWho]);
  useEffect(() => { if (who.state === "in") last.current = who.user.id; }, [who]);

  if (who.state === "asking") return <Spin className="fill" size="large" />;
  if (who.state !== "in") {
    const notice = who.state === "unreachable" ? "unreachable" : who.expired ? "expired" : null;
    return <LoginPage gateway={gateway} notice={notice} onEntered={enter} appearance={appearance} />;
  }
  return (
    <ConsolePage
      key={who.user.id} {...{ gateway, openSource, board, dispatch, draft, setDraft, onExpired, onLeft, appearance }} user={who.user}
    />
  );
}

export function App({ nonce, gateway, openSource }: AppProps): ReactElement {
  const appearance = useAppearance();
  const { language, dark } = appearance;
  const tokens = useMemo(() => ({
    algorithm: dark ? theme.darkAlgorithm : theme.defaultAlgorithm,
    token: { colorPrimary: dark ? "#3b82d6" : "#0b57a4", colorError: dark ? "#e5484d" : "#c9182b", borderRadius: 6, fontFamily: FONTS },
  }), [dark]);
  return (
    <ConfigProvider csp={{ nonce }} locale={language === "zh" ? zhCN : enUS} theme={tokens} wave={{ disabled: true }} button={{ autoInsertSpace: false }}>
      <Text value={CATALOGUES[language]}>
        <AntApp message={{ maxCount: 3, top: 64 }}>
          <Crash>
            <Page gateway={gateway} openSource={openSource} appearance={appearance} />
          </Crash>
        </AntApp>
      </Text>
    </ConfigProvider>
  );
}

const FONTS = 'system-ui, -apple-system, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "Noto Sans SC", "WenQuanYi Micro Hei", sans-serif';
