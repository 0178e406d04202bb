//! Every language that is told apart, against every other: a confusion table of short reasoning, some of it with formulas and code,
//! and one of the problems of MGSM where they are there (`cargo test -p r1-verify --test languages -- --nocapture` shows them).

use r1_verify::extract::Prefill;
use r1_verify::language::{consistency, detect};

/// Written for this test, by no model of ours: three pieces of reasoning a language, the last one with a formula or code.
const TEXTS: &[(&str, [&str; 3])] = &[
    (
        "en",
        [
            "The farmer had 12 cows and sold 5 of them. So there are 7 left, which is what we need.",
            "She reads 30 pages each day, so in one week she reads 210 pages.",
            "If we call the price $p$, then $3p + 4 = 19$, so the price is 5. We check it with `print(3*5+4)`.",
        ],
    ),
    (
        "fr",
        [
            "Le fermier avait 12 vaches et il en a vendu 5. Il lui en reste donc 7, ce qui est la réponse.",
            "Elle lit 30 pages par jour, donc en une semaine elle lit 210 pages.",
            "On appelle $p$ le prix, alors $3p + 4 = 19$ et le prix est de 5. On le vérifie avec `print(3*5+4)`.",
        ],
    ),
    (
        "de",
        [
            "Der Bauer hatte 12 Kühe und hat 5 davon verkauft. Es bleiben ihm also noch 7, und das ist die Antwort.",
            "Sie liest jeden Tag 30 Seiten, also liest sie in einer Woche 210 Seiten.",
            "Wenn der Preis $p$ ist, dann gilt $3p + 4 = 19$, also ist er 5. Wir prüfen das mit `print(3*5+4)`.",
        ],
    ),
    (
        "es",
        [
            "El granjero tenía 12 vacas y vendió 5 de ellas. Entonces le quedan 7, que es la respuesta.",
            "Ella lee 30 páginas cada día, así que en una semana lee 210 páginas.",
            "Si el precio es $p$, entonces $3p + 4 = 19$ y el precio es 5. Lo comprobamos con `print(3*5+4)`.",
        ],
    ),
    (
        "it",
        [
            "Il contadino aveva 12 mucche e ne ha vendute 5. Quindi gliene restano 7, che è la risposta.",
            "Lei legge 30 pagine ogni giorno, quindi in una settimana legge 210 pagine.",
            "Se il prezzo è $p$, allora $3p + 4 = 19$ e quindi il prezzo è 5. Lo verifichiamo con `print(3*5+4)`.",
        ],
    ),
    (
        "pt",
        [
            "O fazendeiro tinha 12 vacas e vendeu 5 delas. Então ele ainda tem 7, que é a resposta.",
            "Ela lê 30 páginas por dia, então em uma semana ela lê 210 páginas.",
            "Se o preço é $p$, então $3p + 4 = 19$ e o preço é 5. Isso nós verificamos com `print(3*5+4)`.",
        ],
    ),
    (
        "nl",
        [
            "De boer had 12 koeien en heeft er 5 verkocht. Dan heeft hij er nog 7, en dat is het antwoord.",
            "Zij leest elke dag 30 bladzijden, dus in een week leest ze er 210.",
            "Als de prijs $p$ is, dan is $3p + 4 = 19$ en dus is de prijs 5. We kijken het na met `print(3*5+4)`.",
        ],
    ),
    (
        "sv",
        [
            "Bonden hade 12 kor och sålde 5 av dem. Då har han 7 kvar, och det är svaret.",
            "Hon läser 30 sidor varje dag, så på en vecka läser hon 210 sidor.",
            "Om priset är $p$ så är $3p + 4 = 19$, och då är priset 5. Vi kontrollerar det med `print(3*5+4)`.",
        ],
    ),
    (
        "da",
        [
            "Bonden havde 12 køer og solgte 5 af dem. Så har han 7 tilbage, og det er svaret.",
            "Hun læser 30 sider hver dag, så på en uge læser hun 210 sider.",
            "Når prisen er $p$, så er $3p + 4 = 19$, og prisen er 5. Det ser vi efter med `print(3*5+4)`.",
        ],
    ),
    (
        "fi",
        [
            "Maanviljelijällä oli 12 lehmää, ja hän myi niistä 5. Siis hänellä on nyt 7 lehmää, ja se on vastaus.",
            "Hän lukee joka päivä 30 sivua, joten viikossa hän lukee 210 sivua.",
            "Jos hinta on $p$, niin $3p + 4 = 19$, ja hinta on siis 5. Sen voi tarkistaa: `print(3*5+4)`.",
        ],
    ),
    (
        "pl",
        [
            "Rolnik miał 12 krów i sprzedał 5 z nich. Więc zostało mu 7 i to jest odpowiedź.",
            "Ona czyta 30 stron każdego dnia, więc przez tydzień czyta 210 stron.",
            "Jeśli cena to $p$, to $3p + 4 = 19$, więc cena to 5. Możemy to sprawdzić przez `print(3*5+4)`.",
        ],
    ),
    (
        "cs",
        [
            "Farmář měl 12 krav a prodal jich 5. Takže mu jich zůstalo 7, což je odpověď.",
            "Každý den čte 30 stran, takže za týden přečte 210 stran.",
            "Když je cena $p$, tak $3p + 4 = 19$, a cena je tedy 5. Ověříme to pomocí `print(3*5+4)`.",
        ],
    ),
    (
        "ro",
        [
            "Fermierul avea 12 vaci și a vândut 5 dintre ele. Deci i-au mai rămas 7, ceea ce este răspunsul.",
            "Ea citește câte 30 de pagini pe zi, deci într-o săptămână citește 210 pagini.",
            "Dacă prețul este $p$, atunci $3p + 4 = 19$ și prețul este 5. Verificăm cu `print(3*5+4)`.",
        ],
    ),
    (
        "hu",
        [
            "A gazdának 12 tehene volt, és eladott közülük 5-öt. Tehát 7 maradt neki, és ez a válasz.",
            "Minden nap 30 oldalt olvas, tehát egy hét alatt 210 oldalt olvas el.",
            "Ha az ár $p$, akkor $3p + 4 = 19$, tehát az ár 5. Ezt így lehet ellenőrizni: `print(3*5+4)`.",
        ],
    ),
    (
        "tr",
        [
            "Çiftçinin 12 ineği vardı ve bunların 5 tanesini sattı. Yani geriye 7 tane kaldı, bu da cevap.",
            "Her gün 30 sayfa okuyor, yani bir haftada 210 sayfa okur.",
            "Fiyat $p$ ise $3p + 4 = 19$ olur, o zaman fiyat 5 olur. Bunu `print(3*5+4)` ile kontrol ederiz.",
        ],
    ),
    (
        "vi",
        [
            "Người nông dân có 12 con bò và đã bán 5 con. Vậy còn lại 7 con, đó là câu trả lời.",
            "Mỗi ngày cô ấy đọc 30 trang, vậy trong một tuần cô ấy đọc 210 trang.",
            "Nếu giá là $p$ thì $3p + 4 = 19$, vậy giá là 5. Ta kiểm tra bằng `print(3*5+4)`.",
        ],
    ),
    (
        "id",
        [
            "Petani itu memiliki 12 ekor sapi dan menjual 5 di antaranya. Jadi masih ada 7 ekor, dan itu adalah jawabannya.",
            "Dia membaca 30 halaman setiap hari, jadi dalam satu minggu dia membaca 210 halaman.",
            "Jika harga itu $p$, maka $3p + 4 = 19$, jadi harganya adalah 5. Kita periksa dengan `print(3*5+4)`.",
        ],
    ),
    (
        "sw",
        [
            "Mkulima alikuwa na ng'ombe 12 na akauza 5 kati yao. Kwa hivyo amebaki na ng'ombe 7, na hilo ni jibu.",
            "Kila siku anasoma kurasa 30, kwa hivyo katika wiki moja anasoma kurasa 210.",
            "Ikiwa bei ni $p$, basi $3p + 4 = 19$, kwa hivyo bei ni 5. Jumla ya yote ni `print(3*5+4)`.",
        ],
    ),
    (
        "hr",
        [
            "Seljak je imao 12 krava i prodao je 5 od njih. Dakle, ostalo mu je 7, što je odgovor.",
            "Ona čita 30 stranica svaki dan, pa u jednom tjednu pročita 210 stranica.",
            "Ako je cijena $p$, onda je $3p + 4 = 19$, pa je cijena 5. To se provjerava pomoću `print(3*5+4)`.",
        ],
    ),
    (
        "ru",
        [
            "У фермера было 12 коров, и он продал 5 из них. Значит, у него осталось 7, это и есть ответ.",
            "Она читает по 30 страниц каждый день, поэтому за неделю она читает 210 страниц.",
            "Если цена равна $p$, то $3p + 4 = 19$, и цена равна 5. Это можно проверить: `print(3*5+4)`.",
        ],
    ),
    (
        "uk",
        [
            "У фермера було 12 корів, і він продав 5 з них. Отже, у нього залишилось 7, це і є відповідь.",
            "Вона читає по 30 сторінок щодня, тому за тиждень вона читає 210 сторінок.",
            "Якщо ціна дорівнює $p$, то $3p + 4 = 19$, і ціна дорівнює 5. Це можна перевірити: `print(3*5+4)`.",
        ],
    ),
    (
        "bg",
        [
            "Фермерът имаше 12 крави и продаде 5 от тях. Така че му останаха 7, което е отговорът.",
            "Тя чете по 30 страници всеки ден, така че за една седмица чете 210 страници.",
            "Ако цената е $p$, то $3p + 4 = 19$ и цената е 5. Това се проверява с `print(3*5+4)`.",
        ],
    ),
    (
        "sr",
        [
            "Сељак је имао 12 крава и продао је 5 од њих. Дакле, остало му је 7, што је одговор.",
            "Она чита 30 страна сваког дана, па за недељу дана прочита 210 страна.",
            "Ако је цена $p$, онда је $3p + 4 = 19$, па је цена 5. То се проверава са `print(3*5+4)`.",
        ],
    ),
    (
        "ar",
        [
            "كان لدى المزارع 12 بقرة وباع 5 منها. إذن بقي له 7 أبقار، وهذا هو الجواب.",
            "هي تقرأ 30 صفحة في كل يوم، لذلك تقرأ 210 صفحة في الأسبوع.",
            "إذا كان السعر $p$ فإن $3p + 4 = 19$، إذن السعر هو 5. نتحقق من ذلك: `print(3*5+4)`.",
        ],
    ),
    (
        "fa",
        [
            "کشاورز 12 گاو داشت و 5 تا از آن‌ها را فروخت. پس 7 گاو باقی مانده است که جواب است.",
            "او هر روز 30 صفحه می‌خواند، پس در یک هفته 210 صفحه می‌خواند.",
            "اگر قیمت $p$ باشد، پس $3p + 4 = 19$ و قیمت برابر با 5 است. این را با `print(3*5+4)` بررسی می‌کنیم.",
        ],
    ),
    (
        "ur",
        [
            "کسان کے پاس 12 گائیں تھیں اور اس نے ان میں سے 5 بیچ دیں۔ تو اس کے پاس 7 گائیں رہ گئیں، یہی جواب ہے۔",
            "وہ ہر روز 30 صفحے پڑھتی ہے، تو ایک ہفتے میں وہ 210 صفحے پڑھتی ہے۔",
            "اگر قیمت $p$ ہے تو $3p + 4 = 19$ ہے، اور قیمت 5 ہے۔ ہم اس کو `print(3*5+4)` سے دیکھتے ہیں۔",
        ],
    ),
    (
        "hi",
        [
            "किसान के पास 12 गायें थीं और उसने उनमें से 5 बेच दीं। तो अब उसके पास 7 गायें हैं, यही उत्तर है।",
            "वह हर दिन 30 पन्ने पढ़ती है, तो एक हफ्ते में वह 210 पन्ने पढ़ती है।",
            "अगर कीमत $p$ है, तो $3p + 4 = 19$ है और कीमत 5 है। हम इसको `print(3*5+4)` से देखते हैं।",
        ],
    ),
    (
        "mr",
        [
            "शेतकऱ्याकडे 12 गायी होत्या आणि त्याने त्यातील 5 विकल्या. म्हणून आता 7 गायी आहेत, हे उत्तर आहे.",
            "ती दररोज 30 पाने वाचते, म्हणून एका आठवड्यात ती 210 पाने वाचते.",
            "जर किंमत $p$ आहे, तर $3p + 4 = 19$ आणि किंमत 5 आहे. हे आपण `print(3*5+4)` ने पाहू.",
        ],
    ),
    (
        "zh",
        [
            "农夫原来有12头牛，卖掉了5头。所以还剩7头，这就是答案。",
            "她每天读30页，一个星期读210页。",
            "设价格为$p$，则$3p + 4 = 19$，价格是5。我们用`print(3*5+4)`检查。",
        ],
    ),
    (
        "ja",
        [
            "農家には牛が12頭いて、そのうち5頭を売りました。だから残りは7頭で、これが答えです。",
            "彼女は毎日30ページ読むので、一週間で210ページ読みます。",
            "値段を$p$とすると$3p + 4 = 19$なので、値段は5です。`print(3*5+4)`で確かめます。",
        ],
    ),
    (
        "ko",
        [
            "농부에게 소가 12마리 있었고 5마리를 팔았습니다. 그래서 7마리가 남았습니다.",
            "그녀는 매일 30쪽을 읽으므로 일주일에 210쪽을 읽습니다.",
            "가격을 $p$라고 하면 $3p + 4 = 19$이므로 가격은 5입니다. `print(3*5+4)`로 확인합니다.",
        ],
    ),
    (
        "th",
        [
            "ชาวนามีวัว 12 ตัวและขายไป 5 ตัว ดังนั้นเหลือ 7 ตัว",
            "เธออ่านวันละ 30 หน้า ดังนั้นหนึ่งสัปดาห์อ่าน 210 หน้า",
            "ถ้าราคาเป็น $p$ แล้ว $3p + 4 = 19$ ราคาคือ 5 ตรวจสอบด้วย `print(3*5+4)`",
        ],
    ),
    (
        "el",
        [
            "Ο αγρότης είχε 12 αγελάδες και πούλησε 5. Άρα του έμειναν 7, και αυτή είναι η απάντηση.",
            "Διαβάζει 30 σελίδες κάθε μέρα, άρα σε μία εβδομάδα 210.",
            "Αν η τιμή είναι $p$, τότε $3p + 4 = 19$ και η τιμή είναι 5. Το ελέγχουμε με `print(3*5+4)`.",
        ],
    ),
];

/// The share of `text` that is in `target`, as reasoning.
fn share(text: &str, target: &str) -> f64 {
    consistency(&format!("<think>{text}</think>4"), Prefill::No, target).expect("a known language")
}

/// Shares of texts in each language (a row: the language of the texts; a column: the target), printed but for what is as it should be.
fn confusion(texts: &[(&str, Vec<&str>)]) -> Vec<Vec<f64>> {
    let mut table = Vec::new();
    for (language, texts) in texts {
        let row: Vec<f64> = TEXTS
            .iter()
            .map(|(target, _)| texts.iter().map(|text| share(text, target)).sum::<f64>() / texts.len() as f64)
            .collect();
        let told = texts.iter().filter(|text| detect(text) == Some(language)).count();
        print!("{language}: detected {told}/{}", texts.len());
        for ((target, _), share) in
            TEXTS.iter().zip(&row).filter(|((target, _), share)| target == language || **share > 0.01)
        {
            print!("  {target} {share:.3}");
        }
        println!();
        table.push(row);
    }
    table
}

#[test]
fn short_reasoning_in_every_language_counts_for_it_and_for_no_other() {
    let texts: Vec<(&str, Vec<&str>)> =
        TEXTS.iter().map(|(language, texts)| (*language, texts.to_vec())).collect();
    let table = confusion(&texts);
    for (at, row) in table.iter().enumerate() {
        let language = TEXTS[at].0;
        assert!(row[at] >= 0.99, "{language} for itself: {}", row[at]);
        // Serbian is written in both scripts, and in Latin letters it is Croatian's neighbour.
        let others = row
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != at && (language, TEXTS[*other].0) != ("hr", "sr"));
        // A sentence of six words may not tell enough of which of two relatives it is, and then counts for both.
        for (other, share) in others {
            assert!(*share <= 0.34, "{language} for {}: {share}", TEXTS[other].0);
        }
    }
    let wrong: f64 = table.iter().enumerate().map(|(at, row)| row.iter().sum::<f64>() - row[at]).sum();
    let mean = wrong / (TEXTS.len() * (TEXTS.len() - 1)) as f64;
    assert!(mean < 0.005, "on average {mean} of a text counts for another language");
    let all = || TEXTS.iter().flat_map(|(language, texts)| texts.iter().map(move |text| (*language, *text)));
    let told = all().filter(|(language, text)| detect(text) == Some(language)).count();
    println!("{told} of {} detected", all().count());
    assert!(told * 100 >= all().count() * 90, "{told} of {}", all().count());
}

#[test]
fn problems_of_mgsm_count_for_their_language_alone() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/mgsm/mgsm.jsonl");
    let Ok(file) = std::fs::read_to_string(path) else {
        println!("skipped: {path} is not here");
        return;
    };
    let rows: Vec<serde_json::Value> =
        file.lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
    let text = |row: &'_ serde_json::Value, key: &str| row[key].as_str().expect("a text").to_string();
    let languages: std::collections::BTreeSet<String> =
        rows.iter().map(|row| text(row, "language")).collect();
    let (mut own, mut other, mut detected) = (0.0, 0.0, 0);
    for row in &rows {
        let (language, prompt) = (text(row, "language"), text(row, "prompt"));
        detected += usize::from(detect(&prompt) == Some(&language));
        own += share(&prompt, &language);
        let others = languages.iter().filter(|target| **target != language);
        other += others.map(|target| share(&prompt, target)).sum::<f64>();
    }
    for language in &languages {
        let of: Vec<_> = rows.iter().filter(|row| text(row, "language") == *language).collect();
        let mean = |target: &str| {
            of.iter().map(|row| share(&text(row, "prompt"), target)).sum::<f64>() / of.len() as f64
        };
        let told = of.iter().filter(|row| detect(&text(row, "prompt")) == Some(language)).count();
        print!("{language}: detected {told}/{}", of.len());
        for target in &languages {
            let share = mean(target);
            if target == language || share > 0.0005 {
                print!("  {target} {share:.4}");
            }
        }
        println!();
    }
    let n = rows.len() as f64;
    let (own, other, detected) = (own / n, other / n / (languages.len() - 1) as f64, detected as f64 / n);
    println!("{n} problems: {own:.4} for their own language, {other:.5} for another; {detected:.4} detected");
    assert!(own >= 0.995 && other <= 0.002 && detected >= 0.99);
}

#[test]
fn a_language_in_foreign_letters_is_not_that_language() {
    // Romanized: letters are what is seen, and a reader of the language's own script does not read it.
    for (target, text) in [
        ("zh", "Suoyi haisheng qi tou niu, zhe jiu shi da an."),
        ("ja", "Dakara nokori wa nana tou de, kore ga kotae desu."),
        ("ru", "Znachit, u nego ostalos sem korov, eto i est otvet."),
        ("hi", "To ab uske paas saat gaayen hain, yahi uttar hai."),
        ("ar", "Idhan baqiya lahu sab abqar, wa hatha huwa al jawab."),
        ("ko", "Geuraeseo ilgop mariga namatseumnida."),
    ] {
        assert_eq!(share(text, target), 0.0, "{target}: {text}");
    }
    // Turned into another script it is not the first one either.
    assert_eq!(share("Зэ ансэр из сэвэн, со ви ар дан.", "en"), 0.0);
}

#[test]
fn languages_that_take_turns_each_get_their_share() {
    let (english, chinese) = ("So there are seven cows left.", "所以还剩七头。");
    // Six words and six characters.
    for text in [format!("{english} {chinese}"), format!("{chinese}\n{english}")] {
        assert_eq!((share(&text, "en"), share(&text, "zh")), (0.5, 0.5), "{text}");
    }
    let half = share(
        "Der Bauer hat also noch sieben Kühe, und das ist die Antwort. So there are seven of them left, and that is what we need to find.",
        "de",
    );
    assert!((0.35..0.65).contains(&half), "{half}");
    // Chinese characters within Japanese are Japanese; a Chinese sentence between Japanese ones is not.
    assert_eq!(share("残りは七頭です。合計七頭。", "ja"), 1.0);
    let mixed = share("残りは七頭です。所以还剩七头。", "ja");
    assert!((0.4..0.7).contains(&mixed), "{mixed}");
}
