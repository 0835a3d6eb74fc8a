(* The tests of a certificate of kind `log-rank-within`, and what they prove: docs/certificates.md. *)
From mathcomp Require Import all_ssreflect all_algebra ring.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a positive_distance.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

(* centring takes the mean of its column from each entry *)
Lemma centreE (F : fieldType) n m (A : 'M[F]_(n, m)) i j :
  (centre F n *m A) i j = A i j - n%:R^-1 * \sum_l A l j.
Proof.
rewrite mulmxBl mul1mx -scalemxAl -mulmxA mxE [X in _ + X]mxE [X in _ - X]mxE mxE big_ord1 !mxE mul1r.
by congr (_ - _ * _); apply: eq_bigr => l _; rewrite !mxE mul1r.
Qed.

Section Norms.
Variable R : realFieldType.

(* (Σ w a b)² <= (Σ w a²) (Σ w b²) for weights w >= 0 *)
Lemma cauchy_schwarz (I : finType) (w a b : I -> R) : (forall i, 0 <= w i) ->
  (\sum_i w i * a i * b i) ^+ 2 <= (\sum_i w i * a i ^+ 2) * (\sum_i w i * b i ^+ 2).
Proof.
move=> w0; set A := \sum_i w i * a i ^+ 2; set B := \sum_i w i * b i ^+ 2; set S := \sum_i _ * _ * b _.
have : 0 <= \sum_i \sum_j w i * w j * (a i * b j - a j * b i) ^+ 2.
  by do 2!(apply: sumr_ge0 => ? _); rewrite mulr_ge0 ?sqr_ge0 ?mulr_ge0.
have -> : \sum_i \sum_j w i * w j * (a i * b j - a j * b i) ^+ 2 = (A * B + B * A) - (S * S + S * S).
  rewrite /A /B /S !big_distrlr /= -!big_split -sumrB /=; apply: eq_bigr => i _.
  by rewrite -!big_split -sumrB; apply: eq_bigr => j _ /=; ring.
by rewrite subr_ge0 [B * A]mulrC -!mulr2n ler_muln2r.
Qed.

Local Notation square x := (\sum_i x i 0 ^+ 2).

(* |x^T N x| <= sqrt(rows columns) |x|² where |N| <= M, whose rows and columns sum to at most so much *)
Lemma schur r (N M : 'M[R]_r) (x : 'cV_r) rows columns : (forall i j, `|N i j| <= M i j) ->
  (forall i, \sum_j M i j <= rows) -> (forall j, \sum_i M i j <= columns) ->
  (\sum_i \sum_j x i 0 * N i j * x j 0) ^+ 2 <= rows * columns * square x ^+ 2.
Proof.
move=> le rowsM columnsM; have M0 i j : 0 <= M i j by apply: le_trans (normr_ge0 _) (le i j).
have cs := @cauchy_schwarz _ (fun p => M p.1 p.2) (fun p => `|x p.1 0|) (fun p => `|x p.2 0|) (fun p => M0 p.1 p.2).
apply: le_trans (_ : (\sum_p M p.1 p.2 * `|x p.1 0| * `|x p.2 0|) ^+ 2 <= _).
  rewrite -[X in X <= _]real_normK ?num_real // ler_sqr ?nnegrE ?normr_ge0 //; last first.
    by apply: sumr_ge0 => p _; rewrite !mulr_ge0.
  rewrite -(pair_bigA _ (fun i j => M i j * `|x i 0| * `|x j 0|)) /=.
  do 2!(apply: le_trans (ler_norm_sum _ _ _) _; apply: ler_sum => ? _).
  by rewrite !normrM [X in _ <= X * _]mulrC ler_wpmul2r // ler_wpmul2l.
apply: le_trans cs _; rewrite expr2 mulrACA.
have sq i : `|x i 0| ^+ 2 = x i 0 ^+ 2 by rewrite real_normK ?num_real.
apply: ler_pmul; try by apply: sumr_ge0 => p _; rewrite mulr_ge0 ?sqr_ge0.
  rewrite -(pair_bigA _ (fun i j => M i j * `|x i 0| ^+ 2)) mulr_sumr /=; apply: ler_sum => i _.
  by rewrite -mulr_suml sq ler_wpmul2r ?sqr_ge0.
rewrite -(pair_bigA _ (fun i j => M i j * `|x j 0| ^+ 2)) exchange_big mulr_sumr /=; apply: ler_sum => j _.
by rewrite -mulr_suml sq ler_wpmul2r ?sqr_ge0.
Qed.

Lemma form m n (E : 'M[R]_(m, n)) (y : 'cV_m) (z : 'cV_n) :
  (y^T *m E *m z) 0 0 = \sum_i \sum_j y i 0 * E i j * z j 0.
Proof.
rewrite mxE exchange_big /=; apply: eq_bigr => j _; rewrite mxE mulr_suml; apply: eq_bigr => i _.
by rewrite mxE.
Qed.

Lemma squareE m (x : 'cV[R]_m) : square x = (x^T *m x) 0 0.
Proof. by rewrite mxE; apply: eq_bigr => i _; rewrite mxE expr2. Qed.

(* |W x|² <= w |x|² where the rows of |W^T W| sum to at most w *)
Lemma gram m r (W : 'M[R]_(m, r)) (x : 'cV_r) w : (forall i, \sum_j `|(W^T *m W) i j| <= w) ->
  square (W *m x) <= w * square x.
Proof.
move=> rows; have x0 : 0 <= square x by apply: sumr_ge0 => i _; apply: sqr_ge0.
have y0 : 0 <= square (W *m x) by apply: sumr_ge0 => i _; apply: sqr_ge0.
case: r => [|r] in W x rows x0 y0 *.
  by rewrite (flatmx0 x) mulmx0 !big1 ?mulr0 // => i _; rewrite mxE expr0n.
have w0 : 0 <= w by apply: le_trans (rows ord0); apply: sumr_ge0.
rewrite -ler_sqr ?nnegrE ?mulr_ge0 // [X in _ <= X]exprMn [w ^+ 2]expr2 squareE trmx_mul mulmxA -(mulmxA x^T) form.
apply: (@schur _ _ (\matrix_(i, j) `|(W^T *m W) i j|)) => [i j | i | j]; first by rewrite [X in _ <= X]mxE.
  by under eq_bigr do rewrite mxE.
apply: le_trans (_ : _ <= \sum_i `|(W^T *m W) j i|) (rows j); apply: ler_sum => i _; rewrite mxE.
have e : (W^T *m W)^T = W^T *m W by rewrite trmx_mul trmxK.
by rewrite -{1}e [_^T i j]mxE.
Qed.

(* |y^T E z| <= |E|_F |y| |z| *)
Lemma frobenius m n (E : 'M[R]_(m, n)) (y : 'cV_m) (z : 'cV_n) :
  (\sum_i \sum_j y i 0 * E i j * z j 0) ^+ 2 <= (\sum_i \sum_j E i j ^+ 2) * (square y * square z).
Proof.
have := @cauchy_schwarz _ (fun=> 1) (fun p : 'I_m * 'I_n => E p.1 p.2) (fun p => y p.1 0 * z p.2 0) (fun=> ler01).
rewrite -(pair_bigA _ (fun i j => 1 * E i j * (y i 0 * z j 0))) -(pair_bigA _ (fun i j => 1 * E i j ^+ 2)).
rewrite -(pair_bigA _ (fun i j => 1 * (y i 0 * z j 0) ^+ 2)) /=.
rewrite (_ : \sum_i \sum_j 1 * E i j * (y i 0 * z j 0) = \sum_i \sum_j y i 0 * E i j * z j 0); last first.
  by do 2!(apply: eq_bigr => ? _); ring.
rewrite (_ : \sum_i \sum_j 1 * E i j ^+ 2 = \sum_i \sum_j E i j ^+ 2); last by do 2!(apply: eq_bigr => ? _); ring.
rewrite (_ : \sum_i \sum_j 1 * _ = square y * square z) //.
by rewrite big_distrlr; do 2!(apply: eq_bigr => ? _); rewrite mul1r exprMn.
Qed.

(* centring shortens columns *)
Lemma square_centre n (y : 'cV[R]_n) : square (centre R n *m y) <= square y.
Proof.
case: n => [|n] in y *; first by rewrite !big_ord0.
set mean := n.+1%:R^-1 * \sum_i y i 0; have sum : \sum_i y i 0 = n.+1%:R * mean.
  by rewrite /mean mulrA mulfV ?mul1r ?pnatr_eq0.
have -> : square (centre R n.+1 *m y) = square y - n.+1%:R * mean ^+ 2.
  under eq_bigr do rewrite centreE -/mean sqrrB; rewrite big_split sumrB /= sumr_const card_ord sumrMnl -mulr_suml sum.
  rewrite -[mean ^+ 2 *+ _]mulr_natl; move: (n.+1%:R) (square y) => N S; ring.
by rewrite ler_subl_addr ler_addl mulr_ge0 ?sqr_ge0 ?ler0n.
Qed.
End Norms.

Section Gap.
Variable R : realFieldType.
Local Notation square x := (\sum_i x i 0 ^+ 2).
Local Notation abs A := (map_mx Num.norm A).

(* I - G (A + F) V bounded entry by entry, |F| <= e *)
Lemma residual_bound n r (A F e : 'M[R]_n) (V : 'M_(n, r)) (G : 'M_(r, n)) i j :
  (forall i j, `|F i j| <= e i j) ->
  `|(1%:M - G *m (A + F) *m V) i j| <= (abs (1%:M - G *m A *m V) + abs G *m e *m abs V) i j.
Proof.
move=> le; rewrite mulmxDr mulmxDl opprD addrA.
have D (P Q : 'M[R]_r) : (P + Q) i j = P i j + Q i j by rewrite mxE.
have N (P : 'M[R]_r) : (- P) i j = - P i j by rewrite mxE.
have H (P : 'M[R]_r) : (abs P) i j = `|P i j| by rewrite mxE.
rewrite (D (_ - _)) (D (abs _)) N H; apply: le_trans (ler_norm_sub _ _) _; rewrite ler_add2l.
rewrite !mxE; apply: le_trans (ler_norm_sum _ _ _) _; apply: ler_sum => b _.
rewrite normrM [X in _ <= _ * X]mxE ler_wpmul2r //.
rewrite !mxE; apply: le_trans (ler_norm_sum _ _ _) _; apply: ler_sum => a _.
by rewrite normrM [X in _ <= X * _]mxE ler_wpmul2l.
Qed.

(* rank C L' >= r for all L' within rho of L, by what the checker verifies of a spectral gap *)
Theorem spectral_gap n r (L L' A e : 'M[R]_n) (V : 'M_(n, r)) (G : 'M_(r, n)) rho rows columns g v :
  let M := abs (1%:M - G *m A *m V) + abs G *m e *m abs V in
  let a := rows * columns in let b := (n%:R * rho) ^+ 2 * g * v in
  (forall i j, `|(centre R n *m L) i j - A i j| <= e i j) ->
  (forall i, \sum_j M i j <= rows) -> (forall j, \sum_i M i j <= columns) ->
  (forall i, \sum_j `|(G *m G^T) i j| <= g) -> (forall i, \sum_j `|(V^T *m V) i j| <= v) ->
  a + b < 1 -> 4%:R * a * b < (1 - a - b) ^+ 2 ->
  (forall i j, `|L' i j - L i j| <= rho) -> (r <= \rank (centre R n *m L'))%N.
Proof.
move=> M a b known rowsM columnsM gG vV ab1 ab near.
set C := centre R n; pose N := 1%:M - G *m (C *m L) *m V; pose E := L' - L.
have NM i j : `|N i j| <= M i j.
  have := @residual_bound n r A (C *m L - A) e V G i j; rewrite [A + _]addrC subrK; apply=> i' j'.
  by rewrite mxE [X in _ + X]mxE known.
suff free : row_free (G *m (C *m L') *m V)^T.
  move/eqP: free; rewrite mxrank_tr => <-.
  exact: leq_trans (mxrankM_maxl _ _) (mxrankM_maxr _ _).
suff ker (x : 'cV_r) : G *m (C *m L') *m V *m x = 0 -> square x = 0.
  apply: inj_row_free => u u0; apply/rowP => i; have /ker /eqP : G *m (C *m L') *m V *m u^T = 0.
    by rewrite -[LHS]trmxK trmx_mul trmxK u0 trmx0.
  rewrite psumr_eq0 => [/allP z | l _]; last exact: sqr_ge0.
  by apply/eqP; have := z i (mem_index_enum i); rewrite sqrf_eq0 !mxE.
move=> e0.
set s := square x; pose y := (G *m C)^T *m x; pose z := V *m x.
have y_le : square y <= g * s.
  rewrite /y trmx_mul -mulmxA.
  have -> : C^T = C by rewrite /C /centre linearB /= trmx1 linearZ /= trmx_mul trmxK.
  by apply: le_trans (square_centre _) _; apply: gram => i; rewrite trmxK; apply: gG.
have z_le : square z <= v * s by apply: gram.
pose p := \sum_i \sum_j x i 0 * N i j * x j 0; pose q := \sum_i \sum_j y i 0 * E i j * z j 0.
have spq : s = p - q.
  clearbody C.
  have eN : x^T *m N *m x = x^T *m x + y^T *m E *m z.
    have : y^T *m L' *m z = 0.
      have -> : y^T *m L' *m z = x^T *m (G *m (C *m L') *m V *m x) by rewrite /y trmx_mul trmxK /z !mulmxA.
      by rewrite e0 mulmx0.
    rewrite /E /N !mulmxBr !mulmxBl mulmx1 => ->; rewrite sub0r; congr (_ - _).
    by rewrite /y trmx_mul trmxK /z !mulmxA.
  have D (S T : 'M[R]_1) : (S + T) 0 0 = S 0 0 + T 0 0 by rewrite mxE.
  by rewrite /s /p /q -!form eN squareE D addrK.
have s0 : 0 <= s by apply: sumr_ge0 => i _; apply: sqr_ge0.
have y0 : 0 <= square y by apply: sumr_ge0 => i _; apply: sqr_ge0.
have z0 : 0 <= square z by apply: sumr_ge0 => i _; apply: sqr_ge0.
have p_le : p ^+ 2 <= a * s ^+ 2 by apply: schur rowsM columnsM.
have q_le : q ^+ 2 <= b * s ^+ 2.
  apply: le_trans (frobenius E y z) _; rewrite (_ : b * s ^+ 2 = (n%:R * rho) ^+ 2 * (g * s * (v * s))); last by rewrite /b; ring.
  apply: ler_pmul; rewrite ?mulr_ge0 //; [by do 2!(apply: sumr_ge0 => ? _); apply: sqr_ge0 | | exact: ler_pmul].
  apply: le_trans (_ : \sum_(i < n) \sum_(j < n) rho ^+ 2 <= _).
    apply: ler_sum => i _; apply: ler_sum => j _; have := near i j; rewrite -[E i j ^+ 2]real_normK ?num_real // => le.
    by rewrite ler_sqr ?nnegrE ?normr_ge0 //; [rewrite !mxE | apply: le_trans (normr_ge0 _) le].
  by rewrite !sumr_const card_ord -mulrnA -[X in X <= _]mulr_natl natrM exprMn.
apply/eqP; rewrite eq_le s0 andbT leNgt; apply/negP => s_gt0.
have D0 : 0 < 1 - a - b by rewrite -addrA -opprD subr_gt0.
have le : (1 - a - b) * s ^+ 2 <= - (p * q) *+ 2.
  have -> : - (p * q) *+ 2 = s ^+ 2 - p ^+ 2 - q ^+ 2 by rewrite spq; ring.
  by rewrite !mulrBl mul1r; apply: ler_sub => //; apply: ler_sub.
have : ((1 - a - b) * s ^+ 2) ^+ 2 <= 4%:R * (a * s ^+ 2 * (b * s ^+ 2)).
  apply: le_trans (_ : 4%:R * (p ^+ 2 * q ^+ 2) <= _); last by rewrite ler_pmul2l ?ltr0n // ler_pmul ?sqr_ge0.
  have -> : 4%:R * (p ^+ 2 * q ^+ 2) = (- (p * q) *+ 2) ^+ 2 by ring.
  by rewrite ler_sqr // nnegrE ?(le_trans _ le) // mulr_ge0 ?sqr_ge0 // ltW.
have -> : 4%:R * (a * s ^+ 2 * (b * s ^+ 2)) = 4%:R * a * b * (s ^+ 2) ^+ 2 by ring.
by rewrite exprMn ler_pmul2r ?exprn_gt0 // leNgt ab.
Qed.
End Gap.

(* rank of every B within e of A, by an approximate left inverse G *)
Theorem nonsingular_enclosure (R : realFieldType) m r (B A e : 'M[R]_(m, r)) (G : 'M_(r, m)) :
  (forall i j, `|B i j - A i j| <= e i j) ->
  (forall i, \sum_j `|(1%:M - G *m A)%R i j| + \sum_l (`|G i l| * \sum_j e l j) < 1) -> (r <= \rank B)%N.
Proof.
move=> known lt1; apply: leq_trans (mxrankM_maxr G B).
have : row_free (G *m B).
  have -> : G *m B = 1%:M + - (1%:M - G *m A - G *m (B - A)) by rewrite mulmxBr !opprB [_ - _ + _]addrA subrK addrC subrK.
  apply: near_one => i; apply: le_lt_trans (lt1 i).
  under [X in _ <= _ + X]eq_bigr do rewrite mulr_sumr; rewrite [X in _ <= _ + X]exchange_big -big_split /=.
  apply: ler_sum => j _; rewrite mxE normrN [(_ - G *m (B - A)) i j]mxE [X in _ + X]mxE.
  apply: le_trans (ler_norm_sub _ _) _; rewrite ler_add2l mxE; apply: le_trans (ler_norm_sum _ _ _) _.
  by apply: ler_sum => l _; rewrite normrM ler_wpmul2l // mxE [X in _ + X]mxE.
by move/eqP => {1}<-.
Qed.

(* logarithms less those of the first key are as many as the log-rank; fewer columns, scaled, are no more *)
Lemma rank_differences (F : fieldType) n r (L : 'M[F]_n.+1) (x : 'I_n -> F) (w : 'I_r -> F) (h : 'I_r -> 'I_n.+1) :
  (\rank (\matrix_(i, b) (x i * w b * (L (lift ord0 i) (h b) - L ord0 (h b)))%R) <= \rank (centre F n.+1 *m L))%N.
Proof.
pose D := rowsub (lift ord0) (centre F n.+1 *m L) - rowsub (fun=> ord0) (centre F n.+1 *m L).
apply: leq_trans (_ : \rank D <= _)%N; last by apply/mxrankS/addmx_sub; rewrite ?eqmx_opp rowsub_sub.
have DE i j : D i j = L (lift ord0 i) j - L ord0 j.
  have sub (S T : 'M[F]_(n, n.+1)) : (S - T) i j = S i j - T i j by rewrite !mxE.
  have row (M : 'M[F]_n.+1) (f : 'I_n -> 'I_n.+1) : (rowsub f M) i j = M (f i) j by rewrite mxE.
  by rewrite sub !row !centreE; ring.
clearbody D; have -> : \matrix_(i, b) (x i * w b * (L (lift ord0 i) (h b) - L ord0 (h b))) =
    diag_mx (\row_i x i) *m (colsub h D *m diag_mx (\row_b w b)).
  apply/matrixP => i b; by rewrite mul_diag_mx mul_mx_diag !mxE DE mulrAC mulrA.
apply: leq_trans (mxrankM_maxr _ _) _; apply: leq_trans (mxrankM_maxl _ _) _.
by rewrite -mxrank_tr trmx_mxsub -[\rank D]mxrank_tr mxrankS // rowsub_sub.
Qed.

(* log-rank >= r for all within a ratio e^rho of P, by an approximate inverse G of r columns of logarithms less the first row,
   rows and columns scaled, whatever the logarithms between lo and hi *)
Theorem enclosure_logrank (R : expField) n r (P lo hi : 'M[R]_n.+1) rho (A e : 'M[R]_(n, r)) (G : 'M_(r, n))
    (x : 'I_n -> R) (w : 'I_r -> R) (h : 'I_r -> 'I_n.+1) :
  (forall i j, lo i j <= ln (P i j) <= hi i j) -> (forall i, 0 <= x i) -> (forall b, 0 <= w b) ->
  (forall i b, let scale := x i * w b in let j := h b in let i' := lift ord0 i in
     A i b - e i b <= scale * (lo i' j - hi ord0 j - 2%:R * rho) /\
     scale * (hi i' j - lo ord0 j + 2%:R * rho) <= A i b + e i b) ->
  (forall a, \sum_b `|(1%:M - G *m A)%R a b| + \sum_i (`|G a i| * \sum_b e i b) < 1) ->
  forall Q : 'M[R]_n.+1, (forall i j, `|ln (Q i j) - ln (P i j)| <= rho) -> (r <= logrank Q)%N.
Proof.
move=> enclosed x0 w0 known lt1 Q near; apply: leq_trans (rank_differences (logm Q) x w h).
apply: nonsingular_enclosure lt1 => i b; have [below above] := known i b; rewrite mxE ler_norml.
have xw : 0 <= x i * w b by rewrite mulr_ge0.
have side i' j : lo i' j - rho <= logm Q i' j <= hi i' j + rho.
  have := near i' j; have /andP [lo_le le_hi] := enclosed i' j; rewrite mxE ler_norml => /andP [lo_q q_hi].
  rewrite ler_subr_addl in lo_q; rewrite ler_subl_addl in q_hi; apply/andP; split.
    by apply: le_trans lo_q; rewrite ler_add2r.
  by apply: le_trans q_hi _; rewrite ler_add2r.
have /andP [l1 h1] := side (lift ord0 i) (h b); have /andP [l0 h0] := side ord0 (h b).
apply/andP; split.
  rewrite ler_subr_addl; apply: le_trans below _; rewrite ler_wpmul2l //.
  by apply: le_trans (ler_sub l1 h0); rewrite (_ : _ - _ - _ = lo (lift ord0 i) (h b) - rho - (hi ord0 (h b) + rho)) //; ring.
rewrite ler_subl_addl; apply: le_trans above; rewrite ler_wpmul2l //.
by apply: le_trans (ler_sub h1 l0) _; rewrite (_ : _ - _ + _ = hi (lift ord0 i) (h b) + rho - (lo ord0 (h b) - rho)) //; ring.
Qed.

Section Within.
Variables (R : expField) (n r : nat).
Implicit Types P Q : 'M[R]_n.

(* a spectral gap of A, where lo <= log P <= hi, and C log P is within e of A for all that lie between *)
Definition gap P rho (lo hi A e : 'M[R]_n) (V : 'M[R]_(n, r)) (G : 'M[R]_(r, n)) rows columns g v :=
  let mean (B : 'M[R]_n) j := n%:R^-1 * \sum_l B l j in
  let M i j := `|(1%:M - G *m A *m V) i j| + \sum_a \sum_b `|G i a| * e a b * `|V b j| in
  let a := rows * columns in let b := (n%:R * rho) ^+ 2 * g * v in
  [/\ forall i j, lo i j <= ln (P i j) <= hi i j,
      forall i j, A i j <= lo i j - mean hi j /\ hi i j - mean lo j <= A i j + e i j,
      (forall i, \sum_j M i j <= rows) /\ (forall j, \sum_i M i j <= columns),
      (forall i, \sum_j `|(G *m G^T) i j| <= g) /\ (forall i, \sum_j `|(V^T *m V) i j| <= v) &
      a + b < 1 /\ 4%:R * a * b < (1 - a - b) ^+ 2].

Theorem gap_logrank P rho lo hi A e V G rows columns g v : gap P rho lo hi A e V G rows columns g v ->
  forall (L : 'M[R]_n), (forall i j, `|L i j - ln (P i j)| <= rho) -> (r <= \rank (centre R n *m L))%N.
Proof.
move=> [enclosed known [rowsM columnsM] [gG vV] [ab1 ab]] L near.
have ME i j : `|(1%:M - G *m A *m V) i j| + \sum_a \sum_b `|G i a| * e a b * `|V b j| =
    (map_mx Num.norm (1%:M - G *m A *m V) + map_mx Num.norm G *m e *m map_mx Num.norm V)%R i j.
  rewrite [RHS]mxE [X in _ = X + _]mxE; congr (_ + _); rewrite mxE exchange_big /=; apply: eq_bigr => b _.
  by rewrite [X in _ = _ * X]mxE -mulr_suml; congr (_ * _); rewrite mxE; apply: eq_bigr => a _; rewrite mxE.
apply: (@spectral_gap R n r (logm P) L A e V G rho rows columns g v) => //.
- move=> i j; have [lo_le le_hi] := known i j; rewrite centreE !mxE.
  have mean_le : n%:R^-1 * (\sum_l lo l j) <= n%:R^-1 * (\sum_l logm P l j) <= n%:R^-1 * (\sum_l hi l j).
    by apply/andP; split; rewrite ler_wpmul2l ?invr_ge0 ?ler0n //; apply: ler_sum => l _; rewrite mxE; case/andP: (enclosed l j).
  have /andP [lo_ln ln_hi] := enclosed i j; have /andP [lo_mean mean_hi] := mean_le.
  have below : A i j <= ln (P i j) - n%:R^-1 * \sum_l logm P l j by apply: le_trans lo_le _; apply: ler_sub.
  rewrite ger0_norm ?subr_ge0 // ler_subl_addl; apply: le_trans le_hi; exact: ler_sub.
- by move=> i; under eq_bigr do rewrite -ME.
- by move=> j; under eq_bigr do rewrite -ME.
by move=> i j; rewrite mxE.
Qed.

(* ... and with a head of rank r that is near: the least size of such heads *)
Theorem gap_least_size P rho lo hi A e V G rows columns g v k (t : R) (Keys Queries : 'M[R]_(k, n)) :
  gap P rho lo hi A e V G rows columns g v ->
  (0 < n)%N -> (forall i j, 0 < P i j) -> (\rank Keys <= r)%N ->
  let near (Q : 'M[R]_n) := forall i j, `|ln (Q i j) - ln (P i j / \sum_l P l j)| <= rho in
  near (softmax (t *: (Keys^T *m Queries))) ->
  forall d s (X : 'M[R]_(d, n)), s != 0 -> \rank X = n ->
  forall m, (exists2 Q, reachable m s X Q & near Q) <-> (r <= m)%N.
Proof.
move=> test n0 P0 rK near head d s X s0 rX m; split=> [[Q hQ nQ] | rm].
  have sQ : stochastic Q by case: hQ => Wk [Wq <-]; apply: softmax_stochastic.
  apply: leq_trans (_ : logrank Q <= m)%N; last by case: hQ => Wk [Wq hQ]; apply: logrank_necessary hQ.
  pose c : 'rV[R]_n := \row_j ln (\sum_l P l j).
  rewrite /logrank -(centre_gauge (nR0 R n0) _ c); apply: gap_logrank test _ _ => i j.
  have S0 : 0 < \sum_l P l j by rewrite (bigD1 i) //= ltr_paddr // sumr_ge0 // => l _; apply: ltW.
  have := nQ i j; rewrite ln_div ?posrE // opprB addrA.
  have D (B B' : 'M[R]_n) : (B + B') i j = B i j + B' i j by rewrite mxE.
  rewrite D onesE !mxE; congr (`|_| <= _); ring.
exists (softmax (t *: (Keys^T *m Queries))) => //.
have sS := softmax_stochastic (t *: (Keys^T *m Queries)) n0.
apply/(theorem_a _ n0 sS s0 rX); apply: leq_trans rm; apply: leq_trans rK.
have [c e'] := (softmax_eq (t *: (Keys^T *m Queries)) sS).1 erefl.
rewrite /logrank -(centre_gauge (nR0 R n0) _ c) -e' -scalemxAr.
apply: leq_trans (mxrank_scale _ _) _; apply: leq_trans (mxrankM_maxr _ _) _.
by apply: leq_trans (mxrankM_maxl _ _) _; rewrite mxrank_tr.
Qed.
End Within.
