"""Words that injections are made of, by what they do, in the languages attacks come in.

Not a list of forbidden words: each is harmless alone ("ignore", "previous"). What counts is which kinds stand near each
other in a sentence (`injection_features`), and how much is learned. So that one language teaches another, words of
different languages that do the same share a kind.

Notation: a trailing ``*`` matches any ending (``ignor*``), ``_`` joins the words of a phrase (``from_now_on``). Latin
words are written without accents, as `injection_features` reads them. Words of scripts that are written without
spaces (Chinese, Japanese, Thai, Korean) are found inside longer runs.
"""

from __future__ import annotations

KINDS: dict[str, str] = {
    # To set aside what was said before.
    "override": """
        ignore ignores ignored ignoring disregard* forget forgot neglect* overrid* overrul* bypass*
        discard* dismiss* abandon* circumvent* supersede* nullif* invalidat* erase unlearn set_aside
        pay_no_attention do_not_follow don_t_follow stop_following don_t_listen dont_listen dont_follow
        no_longer_follow cease_following null_and_void leave_aside never_mind nevermind just_kidding
        cancel cancels revoke revoked overwrite overwrites overwritten no_longer_apply do_not_obey
        stop_obeying forget_about
        irrespective regardless ignorier* vergiss vergesst vergessen missacht* missachte ignorez ignorer
        oublie oubliez oublier ignora ignorad ignorar ignore_todas ignoren olvida olvide olvidate
        olvidar olvidad descarta esqueca esquece esquecer desconsider* descarte dimentica dimenticare
        dimenticati ignorare ignorate tralascia negeer negeren vergeet zignoruj zapomnij ignoruj zapomen
        zaboravi ignorisi ignoreaza uita ignorera glom ignoroi unohda ignorer_alle glem игнориру*
        проигнориру* забуд* отбрось* пренебре* не_обращай ігнору* проігнору* знехту* abaikan lupakan
        hiraukan abaikanlah bo_qua quen_di phot_lo bo_qua_moi huwag_pansinin kalimutan balewalain
        yoksay* gormezden goz_ardi unut bagimsiz_olarak dikkate_alma puuza sahau kupuuza shpërfill
        shperfill injoro harro dean_dearmad neamhaird shaib budisa yenqaba ziba khohlwa تجاهل تجاهلوا
        تجاهلي انس انسى انسَ تغاضى اهمل أهمل نظرانداز بھول نادیده فراموش התעלם התעלמי שכח תתעלם अनदेखा
        अनदेखी भूल नजरअंदाज नज़रअंदाज़ उपेक्षा उपेक्षा_करें उपेक्षित इग्नोर উপেক্ষা অগ্রাহ্য ভুলে
        উপেক্ষা_করুন ভুলে_যান αγνοησε αγνοηστε ξεχασε ξεχαστε αγνοησ* 忽略 无视 忽視 無視 忘记 忘掉 忘記
        忽视 不要理会 別管 别管 不用管 抛开 丢弃 無視して 忘れて 忘れろ 無視し 무시 잊어 잊고 잊으
        ละเว้น ไม่สนใจ เพิกเฉย ลืม ไม่ต้องสนใจ
        """,
    # What came before.
    "prior": """
        previous previously prior above preceding earlier foregoing former aforementioned before
        original initial past existing precedent* beforehand antecedent* until_now so_far up_to_now
        hitherto vorherig* vorangehend* vorangegangen* obig* bisherig* davor zuvor fruher* precedentes
        anterior anteriores antes anteriori previas previos previo previa anteriorment* precedenti
        precedente prima sopra acima ci_dessus auparavant voorgaande vorige bovenstaande eerdere
        poprzedni* powyzsz* predchoz* prethodn* anterioar* tidigare предыдущ* прежн* выше ранее
        вышеупомянут* попередн* вище раніше sebelumnya terdahulu di_atas truoc phia_tren truoc_do
        nakaraan nauna naunang onceki yukaridaki zilizotangulia zilizopita hapo_juu awali te_meparshme
        te_mepare roimhe seo_caite angaphambili edlule السابقة السابق السابقه أعلاه اعلاه قبل سابقة
        پچھلی پچھلے سابقہ قبلی پیشین הקודמות הקודם הקודמת לעיל पिछले पिछली पहले पूर्व उपरोक्त ऊपर আগের
        পূর্ববর্তী পূর্বের উপরের προηγουμεν* παραπανω 之前 以上 上面 先前 前面 上述 此前 原有 原来 以前
        上記 前の これまで 以前の 先ほど 이전 위의 앞의 앞선 지금까지 ก่อนหน้า ข้างต้น ด้านบน ก่อน
        """,
    "everything": """
        all any every everything anything whatever entire whole each alle alles jede jegliche samtliche
        tout toute toutes tous todo todos toda todas cualquier tutto tutti tutte qualsiasi qualquer
        wszystk* vsechn* sve toate semua segala tat_ca moi_thu lahat hepsi tum butun her все всё всех
        всі усі zote kila gjitha gach konke yonke كل جميع أي تمام سب همه כל כול सभी सब सारे সব সমস্ত ολα
        ολες 所有 一切 全部 任何 すべて 全て 全部の 모든 전부 ทั้งหมด ทุก
        """,
    # What is told to a model.
    "orders": """
        instruction instructions prompt prompts rule rules guideline guidelines command commands
        direction directions directive directives order orders constraint constraints programming
        preprompt assignment assignments restriction restrictions safeguard safeguards protocol
        protocols limitations filters safety_measures anweisung* befehl* regel* aufgabe* vorgabe*
        instruktion* anordnung* richtlinie* consigne* regles ordres instruccion* orden ordenes reglas
        indicaciones instruc* regras ordens comandos comando istruzion* regole ordini instructie*
        opdracht* regels instrukcj* polecen* zasad* pokyn* instrukcije instrukcij* instructiuni*
        инструкц* указани* команд* правил* приказ* інструкц* вказівк* наказ* instruksi petunjuk arahan
        perintah aturan huong_dan chi_dan lenh quy_tac mga_tagubilin tagubilin utos panuto talimat*
        gorev* kural* emir* maagizo maelekezo udhezim* rregulla treoracha treoir riail imiyalelo
        imithetho yalelwa التعليمات تعليمات الأوامر أوامر القواعد الاوامر ہدایات احکامات دستورات
        دستورالعمل قوانین ההוראות הוראות הנחיות निर्देश निर्देशों आदेश आदेशों नियम नियमों হয়েছে_নির্দেশ
        নির্দেশ নির্দেশাবলী নির্দেশনা নিয়ম οδηγι* εντολ* κανον* 指令 指示 提示 规则 規則 要求 命令
        提示词 指引 ルール 命令文 プロンプト 지시 명령 규칙 지침 프롬프트 คำสั่ง คำแนะนำ กฎ
        """,
    # What the application told the model, by name.
    "hidden": """
        system_prompt system_prompts system_message system_messages systemprompt system_instruction
        system_instructions initial_prompt original_prompt hidden_prompt initial_instructions
        original_instructions developer_message secret_instructions hidden_instructions
        internal_instructions custom_instructions starting_prompt pre_prompt base_prompt
        system_configuration initialization_prompt initialization_string first_instruction
        first_instructions secret_prompt prompt_text mesazhin_e_sistemit mesazhi_i_sistemit
        teachtaireacht_chorais theachtaireacht_chorais umyalezo_wesistimu system_meldung systemnachricht
        systemanweisung* message_systeme mensaje_del_sistema prompt_del_sistema системн*
        системную_подсказку 系统提示 系統提示 初始指令 原有指示 システムプロンプト 初期指示
        시스템_프롬프트 시스템프롬프트 system_prompt_text sysprompt preamble starting_instructions
        instructions_above conversation_instructions initial_configuration text_above prompt_above
        message_above initial_message first_message opening_message initial_context system_context
        initial_text
        """,
    # To bring to light.
    "reveal": """
        reveal* disclose* divulg* leak leaks expose exposes recite regurgitate dump unveil uncover spill
        confess zeig* verrate verrat* enthull* offenbar* revele* revelez devoile* divulgue* revela*
        muestra* mostra* rivel* svela* раскро* покаж* открой* ungkap* tiet_lo ihayag ibunyag acikla
        goster* onyesha fichua zbulo shpalos nochd taispeain veza dalula اكشف أظهر افصح افشا گفتن חשוף
        גלה प्रकट बताओ बताइए বলুন প্রকাশ 透露 泄露 告诉我 揭示 显示 公开 明かして 教えて 公開 알려 밝혀
        공개 เปิดเผย บอก repeat repeating echo reproduce restate reiterate reprint retype quote
        transcribe duplicate replay recall print show output display recap recount rehash outline
        paraphrase replicate copy paste wiederhol* gib_aus ausgeben repete* affiche* repite repita
        imprime imprima mostrar ripeti stampa herhaal toon powtorz pokaz повтор* выведи ulangi tampilkan
        lap_lai hien_thi ulitin ipakita tekrarla rudia perserit* shfaq* athdhean ath_aithris phinda
        khombisa كرر दोहराएं दिखाएं επαναλαβε 重复 复述 输出 繰り返 出力 表示 반복 출력 ทำซ้ำ แสดง
        """,
    "say": """
        tell say rewrite spell write type list give provide share return state answer respond reply
        describe summarize translate describe_to generate include insert append add mention put
        output_the respond_with reply_with sag sage sagen schreib* antwort* nenn* gib gebe dis dites
        ecris ecrivez donne donnez reponds di dime diga dile escribe escriba responde imprime diga_me
        dize escreva responda conte dimmi scrivi rispondi stampa zeg schrijf powiedz napisz rekni napis
        напиш* скаж* ответ* вывед* выведи tulis katakan sebutkan viet noi cho_toi ibigay sabihin isulat
        yaz soyle cevapla sema andika thuaj shkruaj perfshi abair scriobh athluaigh cuir faka phumela
        tshela bhala freagair përfshi قل اكتب اطبع أجب أخبرني بگو بنویس کہو لکھو تكرار אמור כתוב
        हिंदी_में लिखें लिखिए कहें बोलें बताएं দিন লিখুন πες γραψε 说出 回复 回答 打印 写出 書いて
        答えて 言って 말해 써 대답 พิมพ์ เขียน พูด
        """,
    "verbatim": """
        verbatim word_for_word exactly_as word_by_word exact_words full_text letter_for_letter
        everything_above all_sentences every_sentence whole_conversation entire_conversation
        sentences_above conversation_so_far words_above everything_before all_the_sentences
        everything_you all_of_the_above above_instruction above_instructions our_conversation
        our_dialogue our_chat our_discussion first_sentence first_line previous_sentence
        previous_sentences repeat_everything repeat_all wortlich mot_pour_mot palabra_por_palabra
        palavra_por_palavra parola_per_parola дословно 逐字 原文 一字不差 entirety in_its_entirety
        exact_text original_text
        """,
    # What is worth stealing.
    "secret": """
        password passwords passphrase passcode passkey secret secrets api_key api_keys apikey credential
        credentials secret_key secret_word secret_code code_word codeword access_token auth_token
        private_key unique_id confidential passwort* kennwort geheimnis mot_de_passe motdepasse
        contrasena contrasenas clave senha palavra_passe parola_d_ordine parola_segreta wachtwoord haslo
        heslo lozink* salasana losenord* adgangskode парол* секрет* пароля kata_sandi mat_khau matkhau
        sifre* parola nenosiri fjalekalim* pasfhocal focal_faire iphasiwedi lozinka tajna كلمة_المرور
        كلمة_السر باسورد رمز_عبور پاس_ورڈ סיסמה הסיסמה סוד पासवर्ड गुप्त পাসওয়ার্ড গোপন κωδικος κωδικο
        pwd passwd magic_word secret_phrase secret_message sensitive_information
        密码 密碼 口令 秘密 パスワード 暗号 秘密の 비밀번호 암호 비밀 รหัสผ่าน ความลับ
        """,
    # To be somebody else.
    "become": """
        you_are_now you_re_now youre_now act_as pretend pretending roleplay role_play roleplaying
        role_playing play_the_role take_on_the_role assume_the_role immerse_yourself simulate simulating
        simulation embody you_will_act you_will_be you_will_now you_are_going_to going_to_act
        going_to_pretend imagine_you imagine_that_you behave_as behave_like acting_as transform_into
        become switch_to persona alter_ego counterpart impersonate du_bist_jetzt du_bist_nun
        jetzt_bist_du nun_bist_du tu_so stell_dir_vor du_bist tu_es_maintenant vous_etes_maintenant
        fais_semblant imagine_que ahora_eres eres_ahora actua_como finge imagina_que voce_agora
        agora_voce aja_como finja ora_sei sei_ora fai_finta agisci_come immagina ты_теперь теперь_ты
        представь притвор* веди_себя действуй_как kamu_sekarang sekarang_kamu anda_sekarang berpura_pura
        bertindak bay_gio_ban ban_la gia_vo ikaw_na_ngayon artik_sen sen_artik sanki rol_yap sasa_wewe
        ti_je_tani tani_ti je anois ta_tu أنت_الآن انت_الان تظاهر تصرف अब_आप अभिनय কল্পনা এখন_আপনি
        你现在是 你是 扮演 假装 从现在起 你的新身份 想象你 角色 あなたは今 ふりをして になりきって 역할
        당신은_이제 척해 척하 คุณคือ สมมติ แกล้ง
        """,
    "from_now": """
        from_now_on from_this_point from_this_moment henceforth starting_now hereafter from_here_on
        now_on ab_jetzt ab_sofort von_nun_an desormais a_partir_de_maintenant dorenavant
        a_partir_de_ahora de_ahora_en d_ora_in_poi da_ora a_partir_de_agora de_agora_em отныне
        с_этого_момента mulai_sekarang tu_bay_gio mula_ngayon bundan_sonra kuanzia_sasa من_الآن अब_से
        এখন_থেকে 从现在开始 从现在起 今から これから 지금부터 จากนี้ไป ต่อจากนี้
        """,
    "instead": """
        instead rather_than now new just only simply nur jetzt stattdessen bitte_nur maintenant
        seulement plutot ahora solo solamente en_su_lugar agora apenas somente em_vez invece adesso
        soltanto теперь только просто вместо sekarang saja hanya thay_vao_do chi ngayon lamang simdi
        sadece yerine sasa tu tani vetem anois amhain manje kuphela الآن فقط بدلا अब केवल सिर्फ এখন শুধু
        现在 只 仅 而是 代わりに だけ 今 대신 이제 지금 만 ตอนนี้ แทน เท่านั้น
        """,
    # Without limits.
    "unbound": """
        unrestricted unfiltered uncensored unlimited unbiased_ai unhinged amoral immoral unethical
        lawless jailbroken jailbreak no_restrictions without_restrictions no_limits no_limitations
        without_limitations no_rules without_rules no_filter without_filter no_filters no_boundaries
        without_any no_ethical no_moral no_morals no_ethics free_from freed_from broken_free break_free
        free_of not_bound unbound not_subject no_longer_bound not_restricted not_limited bypass_the
        anything_now do_anything without_limits without_censorship uncensor* no_censorship limitless
        unmoderated without_ethical without_moral no_guidelines without_guidelines no_constraints rid_of
        unconstrained uninhibited never_refuse cannot_refuse_any never_say_no without_refusing
        without_question whatever_i_ask anything_i_ask any_request every_request
        immune does_not_care doesn_t_care not_have_to_abide do_not_have_to_abide don_t_have_to
        no_warnings no_disclaimers devoid ohne_einschrankung* ohne_regeln uneingeschrankt
        sans_restriction* sans_limite* sans_filtre sin_restricciones sin_limites sin_censura
        sem_restricoes sem_limites senza_restrizioni senza_limiti без_ограничен* tanpa_batas*
        khong_gioi_han sinirsiz bila_vikwazo pa_kufizime gan_srian بدون_قيود 不受 无限制 没有限制 自由
        無制限 制限なし 제한_없이 ไม่มีข้อจำกัด ไม่จำกัด
        """,
    "persona": """
        dan omega apophis machiavelli* evilbot antigpt badgpt basedgpt evil_confidant chaosgpt hackergpt
        devmode developer_mode god_mode godmode opposite_mode debug_mode maintenance_mode admin_mode
        sudo_mode test_mode training_mode unrestricted_mode jailbreak_mode dan_mode experimental_mode
        mode_enabled mode_activated enable_developer entwicklermodus mode_developpeur modo_desarrollador
        modo_desenvolvedor modalita_sviluppatore режим_разработчика modalitetin_zhvillues 开发者模式
        开发模式 管理员模式 超级管理员 開発者モード 개발자_모드 โหมดนักพัฒนา system_mode system_override
        admin_override administrator_override mode_systeme modo_sistema security_override
        """,
    "machine": """
        ai chatgpt gpt openai assistant language_model llm chatbot bot anthropic claude gemini llama
        mistral bard a_i ki ia artificial_intelligence kunstliche_intelligenz intelligence_artificielle
        ии 人工智能 语言模型 助手 言語モデル 인공지능 ปัญญาประดิษฐ์
        """,
    # What a model would say no with, and why.
    "scruple": """
        ethic* moral* legality illegal harmful unsafe refus* decline apolog* disclaimer* warnings policy
        policies content_policy openai_policy offensive inappropriate censor* censorship dangerous
        immoral sorry_but i_can_t_assist i_cannot consequences
        """,
    "character": """
        stay_in_character break_character in_character out_of_character remain_in_character
        breaking_character character_break first_way second_way two_responses both_responses
        jailbreak_response classic_response tokens_left lose_tokens deduct_tokens in_two_different
        two_different_ways two_separate_responses in_two_ways in_both both_ways
        """,
    "must": """
        must always never obey comply complies required mandatory shall have_to strictly ensure
        make_sure muss musst unbedingt dois devez debes tienes_que deve devi должен обязан harus phai
        dapat lazima duhet caithfidh kumele cannot_refuse يجب चाहिए অবশ্যই 必须 必須 しなければ 반드시
        ต้อง
        """,
    # Hurry, and weight.
    "urgent": """
        urgent urgently immediately attention emergency critical crucial asap at_once without_delay
        right_away time_sensitive important vital imperative stop_everything priority top_priority
        high_priority stop halt pause drop_everything stopp achtung dringend wichtig sofort attention_
        urgence urgente importante atencion inmediatamente imediatamente subito срочно важно внимание
        стоп penting segera khan_cap quan_trong mahalaga acil onemli hemen muhimu haraka urgjent
        rendesishme tabhachtach phuthumayo kubalulekile عاجل مهم فورا तुरंत महत्वपूर्ण জরুরি 紧急 重要
        立即 緊急 至急 긴급 중요 즉시 ด่วน สำคัญ alert swift swiftly paramount pivotal decisive imminent
        incoming non_negotiable undivided utmost no_delay mandate not_a_drill dringende sofortige
        """,
    # A task that announces itself.
    "announce": """
        new_task new_instruction new_instructions new_directive new_order new_orders new_command
        new_objective new_goal new_role new_rules new_prompt new_assignment special_case
        special_instruction special_instructions updated_instructions update_to_your
        additional_instruction additional_instructions additional_task urgent_task urgent_instruction
        real_task actual_task real_instructions main_task important_message message_to
        important_instruction important_instructions task_update instruction_update override_instruction
        next_task next_instruction following_instruction following_instructions following_task
        coming_your_way directive instructions_ahead must_do primary_task side_task before_you_continue
        before_proceeding before_you_proceed before_continuing hold_on listen_up heads_up brace_yourself
        end_of_document end_of_text end_of_context end_of_article end_of_data your_task_is_now
        your_new_task your_task_now vital_instruction crucial_instruction neue_aufgabe neue_anweisung
        neue_anweisungen nouvelle_tache nouvelles_instructions nueva_tarea nuevas_instrucciones
        nova_tarefa novas_instrucoes nuove_istruzioni nuovo_compito новая_задача новые_инструкции
        tugas_baru nhiem_vu_moi yeni_gorev yeni_talimat* udhezime_te_reja treoracha_nua imiyalelo_emisha
        رسالة_جديدة تعليمات_جديدة 新任务 新指令 新的任务 新的指令 新しい指示 새로운_지시 คำสั่งใหม่
        """,
    # What the model is to answer, or to put into its answer.
    "answer": """
        your_response your_answer your_reply your_output your_next_response your_summary
        your_final_answer in_the_response to_the_user the_user user_asks end_user the_end_of_your
        every_response each_response all_responses deine_antwort ta_reponse votre_reponse tu_respuesta
        su_respuesta sua_resposta tua_risposta pergjigjen_tende do_fhreagra fhreagra empendulweni
        твой_ответ ответе 你的回答 你的回复 あなたの回答 대답에
        """,
    "send_out": """
        send forward upload exfiltrate* transmit post_to email_to e_mail_to webhook curl wget fetch http
        https www img src href markdown_image markdown image_url url link click visit go_to xyz_com
        download navigate attach bcc
        """,
    "act": """
        execute invoke run call delete remove transfer wire pay purchase buy grant disable drop_table rm
        sudo function_call tool_call use_the_tool tool function api command_line shell unlock approve
        authorize
        """,
    "cipher": """
        base64 rot13 hex hexadecimal cipher caesar morse backwards reversed in_reverse pig_latin
        leetspeak l33t acrostic encode encoded decode decoded encrypt rhyme rhymes riddle anagram
        spell_backwards letter_by_letter each_letter first_letter first_letters last_letter
        first_character characters_of between_each_letter nato_alphabet binary ascii unicode emoji
        emojis hint hints clue clues synonym synonyms starts_with begins_with ends_with spelling
        how_many_letters how_many_characters indice pista hinweis
        """,
    "fiction": """
        hypothetical* hypothetically fictional fiction imaginary story game scenario dream novel movie
        grandma grandmother thought_experiment for_educational educational_purposes research_purposes
        testing_purposes parallel_universe
        """,
    "harm": """
        kill bomb weapon weapons drugs meth malware virus hack hacking steal hate racist nazi terror*
        murder suicide explosive phishing ransomware exploit fraud poison slur
        """,
    "you": """
        you your yours yourself u ur du dein* dich ihr tu te ton votre vous tus usted voce seu sua tuo
        sei ты вы твой ваш тебя kamu anda ban mo ikaw sen senin wewe ti tende tu_fein wena أنت आप তুমি
        আপনি 你 您 あなた 당신 너 คุณ
        """,
    "me": """
        i me my mine i_m ich mir mein* moi mon je yo mi meu minha eu io mio я мне мой aku saya toi ko
        ben bana mimi 我 私 나 내 ฉัน
        """,
    "not": """
        not no don_t dont never cannot can_t won_t without neither nor nicht kein* pas non nao не нет
        jangan tidak khong hindi huwag degil usi لا नहीं मत না 不 不要 别 ない 않 ไม่
        """,
    "owner": """
        admin administrator developer developers creator owner sysadmin engineer ceo president
        authorized security_team debugging debug diagnostics diagnostic maintenance audit testing
        i_am_your_creator programmer penetration
        """,
    # The model's own orders, addressed to it.
    "yours": """
        your_instructions your_prompt your_rules your_guidelines your_configuration your_system
        your_initial your_original your_programming your_directives your_constraints your_context
        your_training_instructions deine_anweisungen deine_instruktionen tes_instructions
        vos_instructions tus_instrucciones suas_instrucoes le_tue_istruzioni 你的提示 你的指令
        your_system_prompt your_system_message your_secret your_password your_hidden your_secrets
        your_instruction your_prompts your_preprompt your_orders your_restrictions your_limitations
        your_first_instructions you_were_given you_were_told you_have_been_given you_been_given
        you_received given_to_you you_told votre_prompt tu_prompt seu_prompt il_tuo_prompt
        твои_инструкции ваши_инструкции твой_промпт instruksi_anda talimatlarini
        """,
    "words": """
        sentence sentences line lines phrase phrases statement statements dialogue dialogues
        conversation conversations exchange exchanges interaction discussion chat text texts content
        contents paragraph satze gesprach texte conversacion testo tekst текст 对话 句话
        """,
    "task": """
        task tasks mission objective duty duties assignment job aufgabe aufgaben tache tarea tarefa
        compito задача задачу tugas nhiem_vu 任务 タスク 작업 งาน
        """,
    "ask": """
        what what_s whats which who where how was wie welche* wo wer quel quelle quels quoi comment ou
        cual cuales que como donde qual quais cosa quale quali come dove wat welk* co jak jaka jakie
        ktory kaj какой какая какие что где какое каков яка який apa berapa mana gi sao dau ano alin
        nasil nedir hangi ne nini gani cili cila cfare cad ce yini ما ماذا کیا کیسے چیست מה מהי מהו क्या
        कौन कहाँ कहां कैसे কি কী কোথায় ποιος ποιο τι 什么 什麼 哪 何 무엇 뭐 뭔 อะไร ไหน
        """,
    # How an answer has to begin, or all that it may be.
    "forced": """
        begin_your_response begin_your_answer begin_your_reply start_your_response start_your_answer
        start_your_reply begin_with start_with starting_with beginning_with respond_only reply_only
        answer_only only_respond only_reply only_answer only_say only_output output_only just_say
        just_reply just_respond just_print just_output say_only end_your_response end_your_answer
        respond_with_only reply_with_only respond_exclusively nothing_else antworte_nur beginne_deine
        reponds_uniquement reponds_seulement commence_ta responde_solo responde_solamente empieza_tu
        responda_apenas rispondi_solo 只回答 只输出 只回复
        """,
    # What nobody is to notice.
    "secrecy": """
        do_not_mention don_t_mention without_mentioning do_not_tell don_t_tell without_telling
        do_not_inform don_t_inform do_not_disclose_this keep_this_secret keep_it_secret keep_quiet
        between_us secretly silently discreetly covertly without_notice without_the_user
        without_asking do_not_ask_for do_not_alert do_not_explain no_explanation without_explanation
        do_not_acknowledge don_t_acknowledge do_not_reference don_t_reference
        """,
    # Talk about attacks, which is what documentation and questions do.
    "about": """
        attack attacks guard detect detects detected detection detector defend defense defence protect
        protects protection prevent prevents benchmark security risk risks example examples for_example
        such_as called known_as
        """,
    "topic": """
        injection injections attacker attackers adversarial vulnerabilit* guardrail* scanner scanners
        malicious mitigat* sanitiz* classifier threat threats owasp red_team redteam probe probes
        prompt_injection prompt_injections jailbreak_detection jailbreak_attempts jailbreaking
        red_teaming redteaming injected llm_security ai_security prompt_leaking attack_vector inyeccion
        iniezione injektion angriff angreifer prompt_leak exploits threat_model detector detectors
        exploitation
        """,
}
"""Kind -> words. After a change `scripts/train_guard.py` has to be run anew: what a rule counts depends on them."""

LETTERS: dict[str, str] = {
    "override": "O",
    "prior": "P",
    "everything": "E",
    "orders": "R",
    "hidden": "H",
    "reveal": "V",
    "say": "S",
    "verbatim": "W",
    "secret": "X",
    "become": "B",
    "from_now": "N",
    "instead": "I",
    "unbound": "U",
    "persona": "D",
    "machine": "M",
    "scruple": "L",
    "character": "C",
    "must": "T",
    "urgent": "G",
    "announce": "A",
    "answer": "Z",
    "send_out": "K",
    "act": "F",
    "cipher": "Q",
    "fiction": "Y",
    "harm": "J",
    "you": "u",
    "me": "m",
    "not": "n",
    "owner": "o",
    "yours": "h",
    "words": "w",
    "task": "t",
    "ask": "q",
    "forced": "f",
    "secrecy": "k",
    "about": "b",
    "topic": "i",
}
"""Kind -> its letter in the line of kinds that `injection_rules` reads."""
