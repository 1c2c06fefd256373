// The switches of language and theme, the same on the log-in page and the console.
import { MoonOutlined, SunOutlined } from "@ant-design/icons";
import { Button, Segmented } from "antd";
import type { ReactElement } from "react";

import type { Appearance } from "../App";
import type { Language } from "../text/language";
import { LANGUAGE_NAMES, useText } from "../text/language";

const LANGUAGES: Language[] = ["zh", "en"];

export function Preferences({ appearance }: { appearance: Appearance }): ReactElement {
  const text = useText();
  const { language, setLanguage, dark, setDark } = appearance;
  return (
    <>
      <Segmented
        aria-label={text.header.language} value={language} onChange={setLanguage}
        options={LANGUAGES.map((value) => ({ value, label: <span lang={value}>{LANGUAGE_NAMES[value]}</span> }))}
      />
      <Button
        type="text" aria-label={text.header.theme} aria-pressed={dark} title={text.header.theme}
        icon={dark ? <MoonOutlined aria-hidden /> : <SunOutlined aria-hidden />} onClick={() => { setDark(!dark); }}
      />
    </>
  );
}
